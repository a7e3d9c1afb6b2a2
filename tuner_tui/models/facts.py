"""The facts of a model, from its settings and file headers, without loading weights; unknown is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.guarded import Unreadable
from tuner_tui.models.card_metadata import read_licence
from tuner_tui.models.gguf_header import GgufArray, GgufHeader, GgufTensor, read_gguf
from tuner_tui.models.model_folder import read_json, weight_files
from tuner_tui.models.packed import unpacked_shapes
from tuner_tui.models.safetensors_header import SafetensorsTensor, read_safetensors
from tuner_tui.models.source import ModelSource
from tuner_tui.models.weight_count import WeightCount, count_layers, count_tensors
from tuner_tui.text import shell_command

_DTYPES = {
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
}
_HEADS = ("lm_head.weight", "embed_out.weight")
_TOWERS = ("vision_config", "audio_config")
_GGUF_NAMES = {
    "attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj", "attn_qkv": "qkv_proj",
    "ffn_gate": "gate_proj", "ffn_up": "up_proj", "ffn_down": "down_proj", "output": "lm_head",
    "token_embd": "embed_tokens", "ffn_gate_inp": "router",
}  # fmt: skip


@dataclass(frozen=True)
class ModelFacts:
    """Sizes and properties of a base model."""

    model_type: str | None = None
    hidden_size: int | None = None
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    context_length: int | None = None
    tied_embeddings: bool | None = None
    """Whether the output layer is the input embedding, so that both are stored once."""
    parameters: int | None = None
    """Parameters counted from headers; for quantised repositories, of the unpacked tensors if known."""
    weight_bytes: int | None = None
    """Bytes of the tensors in the files."""
    dtype: str | None = None
    """The dtype of most bytes: fp32, fp16, bf16, or the files' own name (q4_1, u8)."""
    has_chat_template: bool | None = None
    licence: str | None = None
    quantisation: str | None = None
    """The config's quantization method (gptq, awq, bitsandbytes, ...); None for a plain model and GGUF."""
    experts: int | None = None
    """Experts of each layer of a mixture; None for a dense model."""
    experts_per_token: int | None = None
    expert_intermediate_size: int | None = None
    shared_intermediate_size: int | None = None
    """Width of the expert that all tokens pass through."""
    has_tower: bool = False
    """Whether there is a vision or audio part, which is loaded too."""
    weights: WeightCount | None = None
    """The parameter count by kind of tensor; None without headers or for an unknown packing."""
    stored_layers: int | None = None
    """Layers of the language model in the headers; None if there are none."""
    read_at_commit: str = ""
    """For an unreachable Hub repository: the commit at which this was read before."""
    header_problem: str = ""
    """The problem of the weight files' headers, if sizes are from the config only; empty if there is none."""


def read_facts(source: ModelSource) -> ModelFacts:
    """The facts of a model on this machine (a folder, a GGUF file, a cached Hub snapshot)."""
    if source.path is None:
        raise NotFoundError(
            "Not on this machine yet",
            f"{source.name} is not complete in the Hub's cache.",
            f"Download it first: {shell_command('models download', source.name)}",
        )
    try:
        return gguf_facts(read_gguf(source.path)) if source.kind == "gguf" else _folder_facts(source.path)
    except OSError as error:
        raise InputError(
            "Cannot read the model", f"{error.filename or source.path}: {error.strerror}."
        ) from error


def _folder_facts(folder: Path) -> ModelFacts:
    tensors, problem = _tensors(folder)
    facts = facts_from(
        read_json(folder / "config.json"),
        tensors,
        has_chat_template=_has_chat_template(folder),
        licence=_licence(folder / "README.md"),
    )
    return replace(facts, header_problem=problem)


def facts_from(
    full_config: dict[str, Any],
    tensors: Mapping[str, SafetensorsTensor],
    *,
    has_chat_template: bool | None = None,
    licence: str | None = None,
) -> ModelFacts:
    """The facts from a config.json and the tensors in the weight files' headers."""
    config = _text_config(full_config)
    quantisation = _quantisation(full_config) or _quantisation(config)
    heads = _number(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
    hidden = _number(config, "hidden_size", "n_embd", "d_model", "dim")
    kv_heads = _number(config, "num_key_value_heads", "num_kv_heads", "n_head_kv")
    if kv_heads is None:
        kv_heads = 1 if config.get("multi_query") is True else heads
    head_dim = _number(config, "head_dim") or _divided(hidden, heads)
    intermediate = _number(config, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    shapes: dict[str, tuple[int, ...]] | None = {name: tensor.shape for name, tensor in tensors.items()}
    if quantisation:
        sizes = {
            "h": hidden,
            "q": _times(heads, head_dim),
            "kv": _times(kv_heads, head_dim),
            "m": intermediate,
        }
        shapes = unpacked_shapes(tensors, _quantisation_settings(full_config, config), sizes)
    weights = count_tensors(shapes) if shapes else None
    return ModelFacts(
        model_type=_text(full_config.get("model_type")),
        hidden_size=hidden,
        layers=_number(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate,
        vocab_size=_number(config, "vocab_size"),
        context_length=_number(
            config,
            "max_position_embeddings",
            "n_positions",
            "n_ctx",
            "max_sequence_length",
            "max_seq_len",
            "seq_length",
        ),
        tied_embeddings=_tied(full_config, config, tensors),
        parameters=weights.total if weights else None,
        weight_bytes=_weight_bytes(tensors.values()),
        dtype=_main_dtype(tensors.values()) or _config_dtype(config),
        has_chat_template=has_chat_template,
        licence=licence,
        quantisation=quantisation,
        has_tower=any(isinstance(full_config.get(key), dict) for key in _TOWERS),
        weights=weights,
        stored_layers=count_layers(tensors),
        **_mixture(config),
    )


def gguf_facts(header: GgufHeader) -> ModelFacts:
    """The facts from a GGUF file's header."""
    architecture = header.text("general.architecture")

    def number(key: str) -> int | None:
        return header.number(f"{architecture}.{key}")

    tokens = header.metadata.get("tokenizer.ggml.tokens")
    hidden, heads = number("embedding_length"), number("attention.head_count")
    names = {tensor.name for tensor in header.tensors}
    return ModelFacts(
        model_type=architecture,
        hidden_size=hidden,
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv")
        or (heads if f"{architecture}.attention.head_count_kv" not in header.metadata else None),
        head_dim=number("attention.key_length") or _divided(hidden, heads),
        intermediate_size=number("feed_forward_length"),
        vocab_size=number("vocab_size") or (tokens.length if isinstance(tokens, GgufArray) else None),
        context_length=number("context_length"),
        tied_embeddings="output.weight" not in names if names else None,
        parameters=_parameters(header.tensors),
        weight_bytes=_weight_bytes(header.tensors),
        dtype=_main_dtype(header.tensors),
        has_chat_template=bool(header.text("tokenizer.chat_template")),
        licence=header.text("general.license"),
        experts=number("expert_count"),
        experts_per_token=number("expert_used_count"),
        expert_intermediate_size=number("expert_feed_forward_length"),
        shared_intermediate_size=number("expert_shared_feed_forward_length"),
        stored_layers=count_layers(names),
        weights=count_tensors({_gguf_name(tensor.name): tensor.shape for tensor in header.tensors}),
    )


def _gguf_name(name: str) -> str:
    """The PyTorch name for a tensor of a GGUF file, as far as its kind is concerned."""
    stem, _, ending = name.rpartition(".")
    layer, _, last = stem.rpartition(".")
    return f"{layer}{'.' if layer else ''}{_GGUF_NAMES.get(last, last)}.{ending}"


def _mixture(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values about experts."""
    experts = _number(config, "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    if experts is None or experts == 1:
        return {}
    width = _number(config, "moe_intermediate_size", "intermediate_size_moe", "moe_ffn_hidden_size")
    shared = _number(config, "shared_expert_intermediate_size", "shared_intermediate_size")
    if shared is None and width and (count := _number(config, "n_shared_experts", "num_shared_experts")):
        shared = count * width
    chosen = _number(config, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")
    return {
        "experts": experts,
        "experts_per_token": chosen,
        "expert_intermediate_size": width,
        "shared_intermediate_size": shared,
    }


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's settings, which models with vision have one level deeper."""
    for key in ("text_config", "llm_config", "language_config"):
        inner = config.get(key)
        if isinstance(inner, dict):
            return {**config, **inner}
    return config


def _tensors(folder: Path) -> tuple[dict[str, SafetensorsTensor], str]:
    """All tensors of a folder's safetensors files; none, and the problem, when they cannot be read."""
    try:
        return {
            name: tensor for path in weight_files(folder) for name, tensor in read_safetensors(path).items()
        }, ""
    except InputError as error:
        return {}, error.title


def _number(config: Mapping[str, Any], *names: str) -> int | None:
    """The first of some settings that is a positive integer."""
    return next((config[name] for name in names if type(config.get(name)) is int and config[name] > 0), None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _divided(hidden: int | None, heads: int | None) -> int | None:
    return hidden // heads if hidden and heads else None


def _tied(full_config: dict[str, Any], config: dict[str, Any], tensors: Mapping[str, object]) -> bool | None:
    for settings in (full_config, config):
        if isinstance(settings.get("tie_word_embeddings"), bool):
            return bool(settings["tie_word_embeddings"])
    if not tensors:
        return None
    return not any(name == head or name.endswith("." + head) for name in tensors for head in _HEADS)


def _quantisation(config: dict[str, Any]) -> str | None:
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    return _text(settings.get("quant_method")) or "unknown"


def _quantisation_settings(*configs: dict[str, Any]) -> dict[str, Any]:
    return next(
        (settings for config in configs if isinstance(settings := config.get("quantization_config"), dict)),
        {},
    )


def _times(count: int | None, width: int | None) -> int | None:
    return count * width if count and width else None


def _parameters(tensors: Iterable[SafetensorsTensor | GgufTensor]) -> int | None:
    return sum(tensor.elements for tensor in tensors) or None


def _weight_bytes(tensors: Iterable[SafetensorsTensor | GgufTensor]) -> int | None:
    return sum(tensor.size_bytes for tensor in tensors) or None


def _main_dtype(tensors: Iterable[SafetensorsTensor | GgufTensor]) -> str | None:
    """The dtype of most bytes."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.size_bytes
    if not sizes:
        return None
    dtype = sizes.most_common(1)[0][0]
    return _DTYPES.get(dtype, dtype.lower())


def _config_dtype(config: dict[str, Any]) -> str | None:
    dtype = _text(config.get("dtype")) or _text(config.get("torch_dtype"))
    return _DTYPES.get(dtype, dtype) if dtype else None


def _has_chat_template(folder: Path) -> bool | None:
    """None if unknown. Raises Unreadable for a pipe or similar in place of a template."""
    for name in ("chat_template.jinja", "chat_template.json"):
        if (folder / name).exists():
            guarded.open_regular(folder / name).close()
            return True
    settings = folder / "tokenizer_config.json"
    if not settings.is_file():
        return False
    try:
        return bool(read_json(settings).get("chat_template"))
    except InputError:
        return None


def _licence(readme: Path) -> str | None:
    """The `license` of a model card's front matter."""
    try:
        return read_licence(readme).identifier
    except Unreadable:
        return None

"""The facts of a model, from its settings and file headers, without loading weights; unknown is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.guarded import Unreadable
from tuner_tui.models import config_keys as keys
from tuner_tui.models.architectures import Architecture, architecture
from tuner_tui.models.card_metadata import read_licence
from tuner_tui.models.config_sizes import ConfigSizes, feed_forward_width
from tuner_tui.models.gguf_header import GgufArray, GgufHeader, GgufTensor, read_gguf
from tuner_tui.models.model_folder import read_json, weight_files
from tuner_tui.models.packed import unpacked_shapes
from tuner_tui.models.quantisation import MODELOPT_FILE, find_quantisation
from tuner_tui.models.safetensors_header import SafetensorsTensor, read_safetensors
from tuner_tui.models.source import ModelSource
from tuner_tui.models.weight_count import WeightCount, count_layers, count_tensors, is_buffer, is_loaded
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
    "token_embd": "embed_tokens", "ffn_gate_inp": "gate",
}  # fmt: skip
_GGUF_TYPES = {
    "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss", "minimax-m2": "minimax_m2",
    "gemma3": "gemma3_text", "gemma4": "gemma4_text",
}  # fmt: skip
"""transformers' names of architectures that GGUF names otherwise."""


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
    """Parameters that a run loads, from headers; for quantised repositories, of the unpacked tensors if known."""
    weight_bytes: int | None = None
    """Bytes of the tensors in the files."""
    dtype: str | None = None
    """The dtype of most bytes: fp32, fp16, bf16, or the files' own name (q4_1, u8)."""
    has_chat_template: bool | None = None
    licence: str | None = None
    quantisation: str | None = None
    """The quantization method (gptq, awq, mlx, "modelopt nvfp4", ...); None for a plain model and GGUF."""
    experts: int | None = None
    """Experts of each layer of a mixture; None for a dense model."""
    experts_per_token: int | None = None
    expert_intermediate_size: int | None = None
    shared_intermediate_size: int | None = None
    """Width of the expert that all tokens pass through."""
    has_tower: bool = False
    """Whether there is a vision or audio part."""
    weights: WeightCount | None = None
    """The parameter count by kind of tensor; None without headers or for an unknown packing."""
    stored_layers: int | None = None
    """Layers of the language model in the headers; None if there are none."""
    read_at_commit: str = ""
    """For an unreachable Hub repository: the commit at which this was read before."""
    header_problem: str = ""
    """The problem of the weight files' headers, if sizes are from the config only; empty if there is none."""
    text_type: str | None = None
    """The model type of the language model inside a model with other parts; None if there is none."""
    state_width: int | None = None
    """Values of the recurrent state of one layer's token (Mamba and similar); None for attention alone."""
    has_own_code: bool = False
    """Whether the repository has Python code of its own that gives a language model."""
    is_gguf: bool = field(default=False, compare=False)
    """Whether these are of a GGUF file, whose names of architectures are its own."""

    @property
    def known(self) -> Architecture | None:
        """What the libraries know of the model's type; None for a type that they do not have."""
        return architecture(_hf_type(self.model_type) if self.is_gguf else self.model_type)

    @property
    def loaded_type(self) -> str | None:
        """The type of the model that a run loads: of some it loads only the language model inside."""
        if self.is_gguf:
            return _hf_type(self.model_type)
        return self.text_type if self.known is not None and self.known.loader == "text" else self.model_type

    @property
    def can_be_quantised(self) -> bool:
        """Whether a run can load it as int8 or 4-bit: not what is quantised already, nor what reads its own weights."""
        known = architecture(self.loaded_type)
        return not self.quantisation and (known is None or not known.unquantised)

    @property
    def embedding_rows(self) -> int | None:
        """Token IDs that the input embedding has."""
        if self.weights is not None and self.hidden_size and not self.weights.embedding % self.hidden_size:
            return self.weights.embedding // self.hidden_size or self.vocab_size
        return self.vocab_size


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
    modelopt = folder / MODELOPT_FILE
    facts = facts_from(
        read_json(folder / "config.json"),
        tensors,
        has_chat_template=_has_chat_template(folder),
        licence=_licence(folder / "README.md"),
        modelopt=read_json(modelopt) if modelopt.is_file() else None,
    )
    return replace(facts, header_problem=problem)


def facts_from(
    full_config: dict[str, Any],
    tensors: Mapping[str, SafetensorsTensor],
    *,
    has_chat_template: bool | None = None,
    licence: str | None = None,
    modelopt: Mapping[str, Any] | None = None,
) -> ModelFacts:
    """The facts from a config.json and the tensors in the weight files' headers.

    A size that config.json leaves out is the tensors', else the default of the configuration's class. `modelopt` is the
    content of hf_quant_config.json.
    """
    sizes = ConfigSizes(full_config)
    how = find_quantisation(full_config, tensors, modelopt)
    heads = sizes.number(keys.HEADS)
    stated = sizes.stated(keys.HIDDEN)
    hidden = stated or sizes.number(keys.HIDDEN)
    kv_heads = sizes.kv_heads(heads)
    head_dim = sizes.number(keys.HEAD_DIM) or _divided(hidden, heads)
    intermediate = sizes.number(keys.INTERMEDIATE)
    loaded = {
        name: tensor
        for name, tensor in tensors.items()
        if is_loaded(name, sizes.known) and not is_buffer(name, tensor.shape)
    }
    shapes: dict[str, tuple[int, ...]] | None = {name: tensor.shape for name, tensor in loaded.items()}
    if how is not None:
        widths = {
            "h": hidden,
            "q": _times(heads, head_dim),
            "kv": _times(kv_heads, head_dim),
            "m": intermediate,
        }
        shapes = unpacked_shapes(loaded, how.settings, widths)
    weights = count_tensors(shapes, sizes.known) if shapes else None
    table = _embedding_of(shapes, weights)
    if table is not None and not stated and not sizes.mentions(keys.HIDDEN):
        hidden, head_dim = table[1], sizes.number(keys.HEAD_DIM) or _divided(table[1], heads)
    layers = count_layers(loaded, sizes.known)
    return ModelFacts(
        model_type=sizes.model_type,
        hidden_size=hidden,
        layers=sizes.number(keys.LAYERS)
        if sizes.mentions(keys.LAYERS)
        else layers or sizes.number(keys.LAYERS),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=_width(sizes, intermediate, feed_forward_width(weights, hidden)),
        vocab_size=table[0]
        if table is not None and not sizes.mentions(keys.VOCABULARY)
        else sizes.number(keys.VOCABULARY),
        context_length=sizes.number(keys.CONTEXT),
        tied_embeddings=_tied(full_config, sizes, tensors),
        parameters=weights.total if weights else None,
        weight_bytes=_weight_bytes(tensors.values()),
        dtype=_main_dtype(tensors.values()) or _config_dtype(sizes.own),
        has_chat_template=has_chat_template,
        licence=licence,
        quantisation=how.method if how else None,
        has_tower=any(isinstance(full_config.get(key), dict) for key in _TOWERS),
        weights=weights,
        stored_layers=layers,
        text_type=sizes.text_type if sizes.text_type != sizes.model_type else None,
        state_width=_times(sizes.number(keys.STATE), intermediate or _times(2, hidden)),
        has_own_code=bool(
            {"AutoConfig", "AutoModelForCausalLM"} & _mapping(full_config.get("auto_map")).keys()
        ),
        **sizes.mixture(),
    )


def gguf_facts(header: GgufHeader) -> ModelFacts:
    """The facts from a GGUF file's header."""
    named = header.text("general.architecture")

    def number(key: str) -> int | None:
        return header.number(f"{named}.{key}")

    tokens = header.metadata.get("tokenizer.ggml.tokens")
    hidden, heads = number("embedding_length"), number("attention.head_count")
    names = {tensor.name for tensor in header.tensors}
    return ModelFacts(
        model_type=named,
        hidden_size=hidden,
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv")
        or (heads if f"{named}.attention.head_count_kv" not in header.metadata else None),
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
        weights=count_tensors(
            {_gguf_name(tensor.name): tensor.shape for tensor in header.tensors},
            architecture(_hf_type(named)),
        ),
        is_gguf=True,
    )


def _hf_type(named: str | None) -> str | None:
    """transformers' model type for a GGUF file's architecture."""
    return _GGUF_TYPES.get(named or "", named)


def _gguf_name(name: str) -> str:
    """The PyTorch name for a tensor of a GGUF file, as far as its kind is concerned."""
    stem, _, ending = name.rpartition(".")
    layer, _, last = stem.rpartition(".")
    return f"{layer}{'.' if layer else ''}{_GGUF_NAMES.get(last, last)}.{ending}"


def _tensors(folder: Path) -> tuple[dict[str, SafetensorsTensor], str]:
    """All tensors of a folder's safetensors files; none, and the problem, when they cannot be read."""
    try:
        return {
            name: tensor for path in weight_files(folder) for name, tensor in read_safetensors(path).items()
        }, ""
    except InputError as error:
        return {}, error.title


def _width(sizes: ConfigSizes, stated: int | None, by_shapes: int | None) -> int | None:
    """The feed-forward width: as stated, else by the matrices, else the class's default."""
    if sizes.mentions(keys.INTERMEDIATE):
        return stated or (by_shapes if sizes.is_null(keys.INTERMEDIATE) else None)
    return by_shapes or stated


def _embedding_of(
    shapes: Mapping[str, tuple[int, ...]] | None, weights: WeightCount | None
) -> tuple[int, int] | None:
    """(tokens, width) of the input embedding, if there is one matrix of that kind."""
    if shapes is None or weights is None or not weights.embedding:
        return None
    found = [
        shape for shape in shapes.values() if len(shape) == 2 and shape[0] * shape[1] == weights.embedding
    ]
    return (found[0][0], found[0][1]) if found and len({*found}) == 1 else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _divided(hidden: int | None, heads: int | None) -> int | None:
    return hidden // heads if hidden and heads else None


def _tied(full_config: Mapping[str, Any], sizes: ConfigSizes, tensors: Mapping[str, object]) -> bool | None:
    """Whether the output layer is the embedding: as config.json says, else by the tensors, else by default."""
    for settings in (full_config, sizes.own):
        if isinstance(settings.get(keys.TIED), bool):
            return bool(settings[keys.TIED])
    if not tensors:
        return sizes.switch(keys.TIED)
    return not any(name == head or name.endswith("." + head) for name in tensors for head in _HEADS)


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


def _config_dtype(config: Mapping[str, Any]) -> str | None:
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

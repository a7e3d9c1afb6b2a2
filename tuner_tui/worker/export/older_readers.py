"""Settings files that transformers 5 writes, with what transformers 4, vLLM and llama.cpp's converter look for beside.

transformers 5 keeps rotary settings in `rope_parameters`; transformers 4 reads `rope_theta` and `rope_scaling`, and
where these are missing silently takes its default. It names tokenizer classes that transformers 4 does not have,
and writes `extra_special_tokens` as a list where transformers 4 wants an object. What is added here says the same, and
transformers 5 reads it as before. Other settings that transformers 5 saves under another name or in another place (the
number of experts, kinds of layers, tied embeddings of a model with images) are written as before, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.models.model_folder import read_json, weight_files
from tuner_tui.models.safetensors_header import read_safetensors
from tuner_tui.worker.export.json_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

FULL, SLIDING = "full_attention", "sliding_attention"
NEOX = ("gpt_neox", "gpt_neox_japanese")
"""Model types with rotary settings under names of their own."""
SCALED = ("apertus", "gpt_oss")
"""Model types that transformers 4 scales rotary embeddings of where the config does not say that it should not."""
THREE_KEYS = ("phi3", "phi4")
"""How the model types begin whose scaling takes three keys in transformers 4, and no others."""
SETTINGS = {"num_experts": "num_local_experts"}
"""Settings that transformers 5 saves under another name, by their name in transformers 4."""
LAYER_TYPES = {"granitemoehybrid": {"linear_attention": "mamba", "full_attention": "attention"}}
"""By model type, what transformers 4 and llama.cpp call kinds of layers that transformers 5 renames."""
FLOAT = "__float__"
"""The key of an object that stands for a number which JSON does not have, such as Infinity."""
PARTS = ("dtype", "rope", "settings", "layers", "floats")
"""What a config gets, each by itself."""
BACKENDS = ("TokenizersBackend", "PythonBackend")
FAST_TOKENIZER = "PreTrainedTokenizerFast"


def config_for_older(config: dict[str, Any]) -> dict[str, Any]:
    """A model's config.json with rotary settings, dtype and renamed settings in both forms; what it has stays.

    It gets nothing that would make transformers 5 read it otherwise, and nothing if its type is not known there.
    """
    read = _read(config)
    if read is None:
        return config
    parts = set(PARTS)
    if _read(older := _in_both_forms(config, parts), like=read) == read:
        return older
    parts = set()
    for part in PARTS:
        if _read(_in_both_forms(config, parts | {part}), like=read) == read:
            parts.add(part)
    return _in_both_forms(config, parts)


def _read(config: dict[str, Any], *, like: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The settings that transformers 5 reads, those of `like` alone; None where it cannot read the config."""
    from transformers import CONFIG_MAPPING

    try:
        read = CONFIG_MAPPING[config["model_type"]].from_dict(_with_floats(config)).to_dict()
    except Exception:  # an unknown type, or settings that its class refuses
        return None
    return _comparable(read, read if like is None else like)


def _with_floats(value: Any) -> Any:
    """A copy with the numbers that JSON does not have."""
    if isinstance(value, dict):
        if value.keys() == {FLOAT}:
            return float(value[FLOAT])
        return {key: _with_floats(inner) for key, inner in value.items()}
    return [_with_floats(inner) for inner in value] if isinstance(value, list) else value


def _comparable(read: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """What is read of the settings in `like`, with rotary settings in one form."""
    found: dict[str, Any] = {}
    for key, value in read.items():
        if key == "rope_parameters" and isinstance(value, dict):
            found[key] = _without_type(value, read)
        elif key in like:
            inner = like[key]
            is_config = key.endswith("_config") and isinstance(value, dict) and isinstance(inner, dict)
            found[key] = _comparable(value, inner) if is_config else value
    return found


def _without_type(rope: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings without `type`, an older name of `rope_type`, and without a factor that says what lengths say."""
    return {
        key: _without_type(value, config) if isinstance(value, dict) else value
        for key, value in rope.items()
        if key != "type" and not (key == "factor" and _is_ratio(rope, config))
    }


def _is_ratio(rope: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether the factor of longrope is that of the lengths, which is what it is without one."""
    longest, original = config.get("max_position_embeddings"), rope.get("original_max_position_embeddings")
    if rope.get("rope_type", rope.get("type")) != "longrope" or not longest or not original:
        return False
    return rope.get("factor") in (None, longest / original)


def _in_both_forms(config: dict[str, Any], parts: set[str]) -> dict[str, Any]:
    found = {
        key: _in_both_forms(value, parts) if isinstance(value, dict) and key.endswith("_config") else value
        for key, value in config.items()
    }
    model_type = str(config.get("model_type"))
    if "dtype" in parts and isinstance(dtype := config.get("dtype"), str):
        found.setdefault("torch_dtype", dtype)
    if "settings" in parts and model_type.startswith("qwen3"):
        for older, newer in SETTINGS.items():
            if newer in config:
                found.setdefault(older, config[newer])
    if "floats" in parts:  # transformers 4 does not know them, and has the same defaults
        found = {key: value for key, value in found.items() if FLOAT not in str(value)}
    names = LAYER_TYPES.get(model_type, {})
    if "layers" in parts and names and isinstance(kinds := config.get("layer_types"), list):
        found["layer_types"] = [names.get(kind, kind) for kind in kinds]
    parameters = config.get("rope_parameters")
    if "rope" not in parts or not isinstance(parameters, dict):
        return found
    inner = parameters.get(FULL) if isinstance(parameters.get(FULL), dict) else None
    rope = inner if inner is not None else parameters
    if any(isinstance(value, dict) for value in rope.values()):
        return found  # by layer types that transformers 4 does not know
    is_neox = model_type in NEOX
    theta, share = rope.get("rope_theta"), rope.get("partial_rotary_factor")
    if theta is not None:
        found.setdefault("rotary_emb_base" if is_neox else "rope_theta", theta)
    if share is not None:
        found.setdefault("rotary_pct" if is_neox else "partial_rotary_factor", share)
    if scaling := _scaling(rope, config):
        found.setdefault("rope_scaling", scaling)
        if scaling["type"] == "longrope" and "original_max_position_embeddings" in rope:
            found.setdefault("original_max_position_embeddings", rope["original_max_position_embeddings"])
    elif model_type in SCALED:
        found.setdefault("rope_scaling", None)
    local = parameters.get(SLIDING)
    if inner is not None and isinstance(local, dict) and local.get("rope_theta") is not None:
        found.setdefault("rope_local_base_freq", local["rope_theta"])
    return found


def _scaling(rope: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What transformers 4 calls rope_scaling; empty for plain rotary embeddings."""
    rest = {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")}
    kind = rest.setdefault("rope_type", "default")
    if rest == {"rope_type": "default"}:
        return {}
    if kind == "longrope" and str(config.get("model_type")).startswith(THREE_KEYS):
        implied_keys = {"rope_type", "type", "original_max_position_embeddings"} | (
            {"factor"} if _is_ratio(rope, config) else set()
        )
        three = {key: value for key, value in rest.items() if key not in implied_keys}
        if three.keys() == {"short_factor", "long_factor"}:
            return {"type": kind} | three  # with another key transformers 4 refuses the model
    return rest | {"type": kind}


def tokenizer_config_for_older(settings: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer_config.json with a class and a form of its special tokens that transformers 4 has as well."""
    found = dict(settings)
    if settings.get("tokenizer_class") in BACKENDS:
        found["tokenizer_class"] = FAST_TOKENIZER
    if isinstance(settings.get("extra_special_tokens"), list):
        tokens = found.pop("extra_special_tokens")
        if tokens:
            found.setdefault("additional_special_tokens", tokens)
    return found


def settle_for_older(folder: Path) -> None:
    """Rewrite a saved model's settings files in place. Raises OSError, and InputError without whole weights."""
    for name, older in (
        ("config.json", lambda config: _with_tied_text(folder, config_for_older(config))),
        ("tokenizer_config.json", tokenizer_config_for_older),
    ):
        if (folder / name).is_file():
            write_json(folder / name, older(read_json(folder / name)))


def _with_tied_text(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config with tied embeddings in its text part as well, where transformers 4 looks for it.

    Only of a saved model without an output layer of its own, which would get random weights there.
    """
    text = config.get("text_config")
    if (
        not isinstance(text, dict)
        or config.get("tie_word_embeddings") is not True
        or text.get("tie_word_embeddings")
    ):
        return config
    names = [name for path in weight_files(folder) for name in read_safetensors(path)]
    if any(name.endswith("lm_head.weight") for name in names):
        return config
    tied = config | {"text_config": text | {"tie_word_embeddings": True}}
    return tied if _read(tied) is not None else config

"""Settings files that transformers 5 writes, with what transformers 4, vLLM and llama.cpp's converter look for beside.

transformers 5 keeps rotary settings in `rope_parameters`; transformers 4 reads `rope_theta` and `rope_scaling`, and
where these are missing silently takes its default. It names tokenizer classes that transformers 4 does not have,
and writes `extra_special_tokens` as a list where transformers 4 wants an object. What is added here says the same, and
transformers 5 reads it as before.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tuner_tui.models.model_folder import read_json
from tuner_tui.worker.export.json_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

FULL, SLIDING = "full_attention", "sliding_attention"
NEOX = ("gpt_neox", "gpt_neox_japanese")
"""Model types with rotary settings under names of their own."""
BACKENDS = ("TokenizersBackend", "PythonBackend")
FAST_TOKENIZER = "PreTrainedTokenizerFast"


def config_for_older(config: dict[str, Any]) -> dict[str, Any]:
    """A model's config.json with rotary settings and dtype in both forms; those that are there stay as they are.

    It stays as it is as a whole where transformers 5 would read it otherwise, or does not know the model's type.
    """
    older, rope = _in_both_forms(config), _rope(config)
    return older if rope is not None and _rope(older) == rope else config


def _rope(config: dict[str, Any]) -> Any:
    """The rotary settings that transformers 5 reads; None where it cannot read the config."""
    from transformers import CONFIG_MAPPING

    try:
        read = CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(config))
        texts = read.get_text_config()
    except Exception:  # an unknown type, or settings that its class refuses
        return None
    return [_without_type(getattr(each, "rope_parameters", None)) for each in (read, texts)]


def _without_type(rope: Any) -> Any:
    """Rotary settings without `type`, an older name of `rope_type`."""
    if not isinstance(rope, dict):
        return rope
    return {key: _without_type(value) for key, value in rope.items() if key != "type"}


def _in_both_forms(config: dict[str, Any]) -> dict[str, Any]:
    found = {
        key: _in_both_forms(value) if isinstance(value, dict) and key.endswith("_config") else value
        for key, value in config.items()
    }
    if isinstance(dtype := config.get("dtype"), str):
        found.setdefault("torch_dtype", dtype)
    parameters = config.get("rope_parameters")
    if not isinstance(parameters, dict):
        return found
    inner = parameters.get(FULL) if isinstance(parameters.get(FULL), dict) else None
    rope = inner if inner is not None else parameters
    if any(isinstance(value, dict) for value in rope.values()):
        return found  # by layer types that transformers 4 does not know
    is_neox = config.get("model_type") in NEOX
    theta, share = rope.get("rope_theta"), rope.get("partial_rotary_factor")
    if theta is not None:
        found.setdefault("rotary_emb_base" if is_neox else "rope_theta", theta)
    if share is not None:
        found.setdefault("rotary_pct" if is_neox else "partial_rotary_factor", share)
    if scaling := _scaling(rope, str(config.get("model_type"))):
        found.setdefault("rope_scaling", scaling)
    local = parameters.get(SLIDING)
    if inner is not None and isinstance(local, dict) and local.get("rope_theta") is not None:
        found.setdefault("rope_local_base_freq", local["rope_theta"])
    return found


def _scaling(rope: dict[str, Any], model_type: str) -> dict[str, Any]:
    """What transformers 4 calls rope_scaling; empty for plain rotary embeddings."""
    rest = {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")}
    kind = rest.setdefault("rope_type", "default")
    if rest == {"rope_type": "default"}:
        return {}
    if kind == "longrope" and model_type.startswith(("phi3", "phi4")):  # these take three keys and no others
        return {"type": kind} | {key: rest[key] for key in ("short_factor", "long_factor") if key in rest}
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
    """Rewrite a saved model's settings files in place. Raises OSError."""
    for name, older in (
        ("config.json", config_for_older),
        ("tokenizer_config.json", tokenizer_config_for_older),
    ):
        if (folder / name).is_file():
            write_json(folder / name, older(read_json(folder / name)))

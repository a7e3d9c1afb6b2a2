"""LoRA: its PEFT configuration, and what it adds to the weights of its base."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key

from tuner_tui.errors import InputError
from tuner_tui.worker.export.weight_updates import AdapterUpdates, LowRankUpdate
from tuner_tui.worker.model.targets import (
    ALL_LINEAR,
    attention_targets,
    linear_names,
    refused_targets,
    require_targets,
    where_text_is,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tuner_tui.config.tunings.lora import LoraTuning

_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_magnitude_vector(?:\.weight)?)"
)


def peft_config(tuning: LoraTuning, model: Any, shared: dict[str, Any]) -> LoraConfig:
    """PEFT's configuration; `shared` are the arguments of all tunings. Raises InputError for unknown targets."""
    return LoraConfig(
        **shared,
        r=tuning.rank,
        lora_alpha=int(tuning.alpha) if tuning.alpha.is_integer() else tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=_targets(tuning, model),
        use_rslora=tuning.rslora,
        use_dora=tuning.dora,
        bias="none",
    )


def _targets(tuning: LoraTuning, model: Any) -> str | list[str]:
    refused = refused_targets(model)
    if tuning.targets == ALL_LINEAR:
        names = where_text_is(ALL_LINEAR, model)
        if not refused:
            return names
        full = linear_names(model) if isinstance(names, str) else names
        adaptable_names = [name for name in full if name.rpartition(".")[2] not in refused]
        last_parts = sorted({name.rpartition(".")[2] for name in adaptable_names})
        is_numbered = any(part.isdigit() for part in last_parts)  # Gemma 3n: 0 is also a layer
        return last_parts if isinstance(names, str) and not is_numbered else adaptable_names
    if tuning.targets == "attention":
        return where_text_is([name for name in attention_targets(model) if name not in refused], model)
    for name in require_targets(tuning.targets, model):
        if name.rpartition(".")[2] in refused:
            raise InputError(
                "A target cannot be adapted",
                f"tuning.targets: LoRA does not adapt {name} of {model.config.model_type}.",
                f"Remove it, or use {ALL_LINEAR!r}.",
            )
    return where_text_is(list(tuning.targets), model)


def left_out(tuning: LoraTuning, model: Any) -> list[str]:
    """Linear layers that `all-linear` leaves out, since they cannot be adapted."""
    return sorted(refused_targets(model)) if tuning.targets == ALL_LINEAR else []


def continue_with(tuning: LoraTuning, config: LoraConfig) -> None:
    """Set the options that an earlier adapter takes from the new run."""
    config.lora_dropout = tuning.dropout


def wake_dropout(tuning: LoraTuning, model: Any) -> None:
    """Re-enable the adapter's dropout where a trainer has disabled it."""
    if not tuning.dropout:
        return
    for module in model.modules():
        adapters = getattr(module, "lora_dropout", {})
        if "default" in adapters and isinstance(adapters["default"], torch.nn.Dropout):
            adapters["default"].p = tuning.dropout


def read_updates(config: LoraConfig, tensors: dict[str, Tensor], adapter: Path) -> AdapterUpdates:
    """The adapter's updates of the base, by tensor name. Raises InputError for unsupported parts of LoRA."""
    parts: dict[str, dict[str, Tensor]] = {}
    replaced: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if part := _PART.fullmatch(name):
            parts.setdefault(part["module"], {})[part["part"].partition(".")[0]] = tensor
        elif "lora_" in name or ".token_adapter." in name:
            raise InputError(
                "This adapter cannot be merged",
                f"{name} in {adapter} is not a low-rank update of a linear layer.",
                "Export it with --as adapter.",
            )
        else:
            replaced[name.replace(".modules_to_save", "").replace(".base_layer.", ".")] = tensor
    nested = {
        module: (part["lora_A"], part["lora_B"])
        for module, part in parts.items()
        if _is_of_experts(module, config)
    }
    updates = {
        module: _update(module, part, config) for module, part in parts.items() if module not in nested
    }
    return AdapterUpdates(config, updates, nested, replaced=replaced)


def _is_of_experts(module: str, config: LoraConfig) -> bool:
    """Whether the adapter is beside a tensor of all experts, which has no module of its own."""
    return bool(config.target_parameters) and module.removesuffix(".base_layer").endswith("experts")


def _update(module: str, part: dict[str, Tensor], config: LoraConfig) -> LowRankUpdate:
    down, up = part["lora_A"], part["lora_B"]
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
    divisor = down.shape[0] ** 0.5 if config.use_rslora else down.shape[0]
    return LowRankUpdate(down, up, alpha / divisor, part.get("lora_magnitude_vector"))

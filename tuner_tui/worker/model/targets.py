"""Finds the modules of a model that get an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTENTION_NAMES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "qkv_proj",
    "query_key_value",
    "c_attn",
    "Wqkv",
    "out_proj",
)


def require_targets(names: Sequence[str], model: Any) -> list[str]:
    """The names unchanged. Raises InputError for one that the model does not have."""
    missing = [name for name in names if name.rpartition(".")[2] not in last_names(model)]
    if missing:
        linear = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        )
        raise InputError(
            "A target is not in the model",
            f"tuning.targets: {', '.join(missing)}.",
            f"The model's linear layers are: {', '.join(linear)}.",
        )
    return list(names)


def last_names(model: Any) -> set[str]:
    """The last parts of all modules' names."""
    return {name.rpartition(".")[2] for name, _ in model.named_modules()}


def attention_targets(model: Any) -> list[str]:
    """The attention modules. Raises InputError where none is known by name."""
    present = last_names(model)
    names = [name for name in ATTENTION_NAMES if name in present]
    if not names:
        raise InputError(
            "The attention layers of this model are unknown",
            f"{model.config.model_type} has none of {', '.join(ATTENTION_NAMES)}.",
            'Set tuning.targets to "all-linear" or to a list of module names.',
        )
    return names

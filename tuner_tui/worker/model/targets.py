"""Finds the modules of a model that get an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.pytorch_utils import Conv1D

from tuner_tui.errors import InputError
from tuner_tui.models.architectures import architecture, table
from tuner_tui.text import listed
from tuner_tui.worker.model.reached import is_without_text, parts_without_text

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
ALL_LINEAR = "all-linear"


def where_text_is(targets: str | Sequence[str], model: Any) -> str | list[str]:
    """The targets as they are; of a model with parts that text never reaches, the full names of those elsewhere.

    A module that is named in full is adapted wherever it stands. Raises InputError where none is left.
    """
    parts = parts_without_text(model)
    if not parts:
        return targets if isinstance(targets, str) else list(targets)
    if isinstance(targets, str):
        return [name for name in linear_names(model) if not is_without_text(name, parts)]
    names = [
        _adaptable(name, module)
        for name, module in model.named_modules()
        if name in targets
        or (not is_without_text(name, parts) and any(name.endswith(f".{target}") for target in targets))
    ]
    if not names:
        raise InputError(
            "Text never reaches the targets",
            f"tuning.targets: {', '.join(targets)} stand in {listed(parts)} only, where adapters would not learn.",
            f'Use "{ALL_LINEAR}", or modules of the language model; a module named in full is adapted all the same.',
        )
    return names


def refused_targets(model: Any) -> frozenset[str]:
    """The last parts of the names of linear layers that LoRA cannot adapt, though PEFT's `all-linear` takes them.

    PEFT refuses some of state-space models, routers that are linear layers give more than one tensor, and some get no
    gradient.
    """
    known = architecture(getattr(model.config, "model_type", None))
    own = {name.rpartition(".")[2] for name, module in model.named_modules() if gives_several(module)}
    return frozenset((*(known.refused if known is not None else ()), *own))


def gives_several(module: Any) -> bool:
    """Whether a linear layer of a model's own class gives something else than a tensor."""
    is_own = isinstance(module, torch.nn.Linear) and type(module).__module__.startswith(
        "transformers.models."
    )
    if not is_own or type(module).forward is torch.nn.Linear.forward:
        return False
    try:
        with torch.no_grad():
            return not isinstance(module(module.weight.new_zeros(1, module.in_features)), torch.Tensor)
    except (RuntimeError, TypeError, ValueError):  # it takes another form of input
        return False


def linear_names(model: Any) -> list[str]:
    """The full names of the layers that `all-linear` takes."""
    return [name for name, module in model.named_modules() if _is_linear(module, model)]


def _is_linear(module: Any, model: Any) -> bool:
    """Whether PEFT's all-linear takes it: the heads that write tokens or scores are left out."""
    is_head = module is model.get_output_embeddings() or module is getattr(model, "score", None)
    return isinstance(module, torch.nn.Linear | Conv1D) and not is_head


def _adaptable(name: str, module: Any) -> str:
    """The name of what PEFT can adapt: of a linear layer in a wrapper that clips (Gemma 4), the layer's own."""
    inner = getattr(module, "linear", None)
    return f"{name}.linear" if isinstance(inner, torch.nn.Linear) else name


def require_targets(names: Sequence[str], model: Any) -> list[str]:
    """The names unchanged. Raises InputError for one that the model does not have."""
    parts = table().expert_parts.get(table().expert_types.get(model.config.model_type, ""), {})
    known = last_names(model) | parts.keys()
    missing = [name for name in names if name.rpartition(".")[2] not in known]
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

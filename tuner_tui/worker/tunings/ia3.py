"""IA3: its PEFT configuration, and how it scales the weights of its base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peft import IA3Config

from tuner_tui.errors import InputError
from tuner_tui.worker.export.weight_updates import AdapterUpdates, Scaling
from tuner_tui.worker.model.targets import last_names, require_targets, where_text_is

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tuner_tui.config.tunings.ia3 import Ia3Tuning

KEYS_AND_VALUES = ("k_proj", "v_proj", "key", "value", "query_key_value", "qkv_proj", "c_attn", "Wqkv")
MLP_OUTPUTS = ("down_proj", "fc2", "dense_4h_to_h", "w2")
"""Modules whose inputs are scaled."""
FACTORS = ".ia3_l"


def peft_config(tuning: Ia3Tuning, model: Any, shared: dict[str, Any]) -> IA3Config:
    """PEFT's configuration; `shared` are the arguments of all tunings. Raises InputError for unknown targets."""
    targets = _targets(tuning, model)
    inputs = [name for name in targets if name.rpartition(".")[2] in MLP_OUTPUTS]
    return IA3Config(**shared, target_modules=targets, feedforward_modules=inputs)


def _targets(tuning: Ia3Tuning, model: Any) -> list[str]:
    if tuning.targets != "auto":
        return list(where_text_is(require_targets(tuning.targets, model), model))
    present = last_names(model)
    names = [name for name in (*KEYS_AND_VALUES, *MLP_OUTPUTS) if name in present]
    if not any(name in KEYS_AND_VALUES for name in names):
        raise InputError(
            "The attention layers of this model are unknown",
            f"{model.config.model_type} has none of {', '.join(KEYS_AND_VALUES)}.",
            "Set tuning.targets to a list of module names.",
        )
    return list(where_text_is(names, model))


def left_out(tuning: Ia3Tuning, model: Any) -> list[str]:
    """Nothing that is a target is left out."""
    return []


def continue_with(tuning: Ia3Tuning, config: IA3Config) -> None:
    """Nothing to do: an earlier adapter takes no option of the new run."""


def wake_dropout(tuning: Ia3Tuning, model: Any) -> None:
    """The adapter has no dropout."""


def read_updates(config: IA3Config, tensors: dict[str, Tensor], adapter: Path) -> AdapterUpdates:
    """The adapter's scalings of the base, by module name."""
    scaled: dict[str, Scaling] = {}
    replaced: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(FACTORS):
            scaled[name.removesuffix(FACTORS)] = Scaling(tensor)
        else:
            replaced[name.replace(".modules_to_save", "")] = tensor
    return AdapterUpdates(config, scaled=scaled, replaced=replaced)

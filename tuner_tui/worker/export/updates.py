"""Reads from PEFT's files what changes an adapter makes to its base's weights, and checks that they fit the base."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from peft import PeftConfig
from peft.utils.other import get_pattern_key
from peft.utils.transformers_weight_conversion import (
    convert_peft_adapter_state_dict_for_transformers,
    convert_peft_config_for_transformers,
)
from safetensors.torch import load_file

from tuner_tui.config.tunings.traits import TRAITS
from tuner_tui.errors import InputError
from tuner_tui.models.adapter import require_safetensors
from tuner_tui.worker.export.weight_updates import AdapterUpdates, ExpertUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tuner_tui.worker.export.base_weights import BaseWeights

PREFIX = "base_model.model."


def read_updates(adapter: Path, skeleton: Any = None) -> AdapterUpdates:
    """Read an adapter's folder. Raises InputError for kinds that cannot be merged into a base's weights.

    With `skeleton`, the base without its data, names that an older version of transformers gave are those that PEFT
    makes of them for this one. Names that the base has stay: PEFT's renaming spoils some of them (Laguna's shared
    experts).
    """
    require_safetensors(adapter)
    config = PeftConfig.from_pretrained(str(adapter))
    kind = next(
        (
            kind
            for kind, traits in TRAITS.items()
            if traits.is_mergeable and traits.peft_type == config.peft_type
        ),
        None,
    )
    if kind is None:
        raise InputError(
            "This adapter cannot be merged",
            f"{adapter} is a {config.peft_type} adapter, which does not change the base's weights.",
            "Export it with --as adapter.",
        )
    tensors = load_file(adapter / "adapter_model.safetensors")
    if skeleton is not None and not _is_named_as(skeleton, tensors):
        convert_peft_config_for_transformers(config, skeleton, None)
        tensors = convert_peft_adapter_state_dict_for_transformers(skeleton, config, tensors)
    named = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    updates: AdapterUpdates = import_module(f"tuner_tui.worker.tunings.{kind}").read_updates(
        config, named, adapter
    )
    return updates


def _is_named_as(skeleton: Any, tensors: Iterable[str]) -> bool:
    """Whether all modules that an adapter's tensors name are the model's."""
    modules = {name for name, _ in skeleton.named_modules()}
    for name in tensors:
        module = name.removeprefix(PREFIX).partition(".lora_")[0].replace(".base_layer", "")
        if module not in modules and module.rpartition(".")[0] not in modules:
            return False
    return True


def require_fit(updates: AdapterUpdates, base: BaseWeights) -> None:
    """Raise InputError when the adapter changes something that the base does not have, or its files do not hold."""
    shapes = {name: tuple(tensor.shape) for name, tensor in base.skeleton.state_dict().items()}
    changed = [f"{name}.weight" for name in (*updates.low_rank, *updates.scaled)] + [*updates.replaced]
    if unknown := [name for name in changed if name not in shapes]:
        raise InputError(
            "The adapter does not fit this base",
            f"{type(base.skeleton).__name__}, which {base.folder} is loaded as, has no {_and_more(unknown)}.",
            "Merge it into the model that it was trained on.",
        )
    if missing := [name for name in changed if name not in base.by_live_name]:
        is_tied = getattr(base.config.get_text_config(), "tie_word_embeddings", False)
        raise InputError(
            "This adapter cannot be merged",
            f"{base.folder} has no weight of its own for {_and_more(missing)}"
            + (", because its embeddings are tied" if is_tied and "lm_head" in missing[0] else "")
            + ".",
            "Export it with --as adapter.",
        )
    for name, update in updates.low_rank.items():
        shape, adapted = shapes[f"{name}.weight"], (update.up.shape[0], update.down.shape[1])
        if shape not in (adapted, adapted[::-1]):
            raise _misfit(f"{name}: the base's weight is {shape}, the adapter's {adapted}.")
    for name, scaling in updates.scaled.items():
        shape, size = shapes[f"{name}.weight"], scaling.factor.numel()
        if size not in shape:
            raise _misfit(
                f"{name}: the base's weight is {shape}, and the adapter scales {size} rows or columns."
            )
    for name, tensor in updates.replaced.items():
        if shapes[name] != tuple(tensor.shape):
            raise _misfit(f"{name}: the base's is {shapes[name]}, the adapter's {tuple(tensor.shape)}.")


def _and_more(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _misfit(message: str) -> InputError:
    return InputError(
        "The adapter does not fit this base", message, "Merge it into the model that it was trained on."
    )


def expert_updates(updates: AdapterUpdates, base: BaseWeights) -> dict[str, ExpertUpdate]:
    """What the adapter adds to the experts, by the loaded tensor's name. Raises InputError where it does not fit.

    Where several tensors of a module are adapted, PEFT nests their wrappers; shapes tell which is whose.
    """
    config: Any = updates.config
    by_tensor: dict[str, ExpertUpdate] = {}
    for wrapper, (down, up) in updates.nested.items():
        container = wrapper.removesuffix(".base_layer")
        while container.endswith(".base_layer"):
            container = container.removesuffix(".base_layer")
        adapted = (up.shape[0], down.shape[1])
        module = base.skeleton.get_submodule(container)
        is_transposed = getattr(module, "is_transposed", False)  # gpt-oss: (experts, inputs, outputs)
        stored = adapted[::-1] if is_transposed else adapted
        tensors = dict(module.named_parameters(recurse=False))
        name = next((name for name, tensor in tensors.items() if tuple(tensor.shape[1:]) == stored), None)
        if name is None:
            raise _misfit(
                f"{container} has no tensor of {adapted[0]} outputs and {adapted[1]} inputs for each expert."
            )
        live = f"{container}.{name}"
        alphas = config.alpha_pattern
        alpha = alphas.get(get_pattern_key(alphas.keys(), live), config.lora_alpha)
        experts = tensors[name].shape[0]
        rank = down.shape[0] // experts
        scale = alpha / (rank**0.5 if config.use_rslora else rank)
        by_tensor[live] = ExpertUpdate(down, up, experts, scale, is_transposed)
    return by_tensor

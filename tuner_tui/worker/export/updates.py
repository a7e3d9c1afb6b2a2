"""What an adapter does to its base: one low-rank update a module, read from PEFT's files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

from tuner_tui.errors import InputError
from tuner_tui.models.adapter import require_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tuner_tui.worker.export.base_weights import BaseWeights

PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_magnitude_vector(?:\.weight)?)"
)


@dataclass(frozen=True)
class LowRankUpdate:
    """weight + scale * B A, with DoRA's magnitudes where there are some.

    LoRA: arXiv 2106.09685; rsLoRA's scale alpha / sqrt(rank): arXiv 2312.03732; DoRA: arXiv 2402.09353.
    """

    down: Tensor
    """A: (rank, inputs)."""
    up: Tensor
    """B: (outputs, rank)."""
    scale: float
    magnitude: Tensor | None = None
    """DoRA's norm of each output row: (outputs)."""

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def apply(self, weight: Tensor) -> Tensor:
        """The merged weight (outputs, inputs) in fp32."""
        merged = torch.addmm(weight.float(), self.up.float(), self.down.float(), alpha=self.scale)
        if self.magnitude is None:
            return merged
        norm = torch.linalg.vector_norm(merged, dim=1)
        return merged.mul_((self.magnitude.float() / norm)[:, None])


@dataclass(frozen=True)
class AdapterUpdates:
    """All that an adapter changes in its base."""

    config: LoraConfig | None
    low_rank: dict[str, LowRankUpdate] = field(default_factory=dict)
    """By the module's name in the base."""
    replaced: dict[str, Tensor] = field(default_factory=dict)
    """Whole weights that were trained (`modules_to_save`), by the tensor's name in the base."""


def read_updates(adapter: Path) -> AdapterUpdates:
    """Read a LoRA adapter's folder. Raises InputError for kinds that cannot be written into a base's weights."""
    require_safetensors(adapter)
    config = PeftConfig.from_pretrained(str(adapter))
    if not isinstance(config, LoraConfig):
        raise InputError(
            "This adapter cannot be merged",
            f"{adapter} is a {config.peft_type} adapter, which is not a change of the base's weights.",
            "Export it with --as adapter.",
        )
    parts: dict[str, dict[str, Tensor]] = {}
    replaced: dict[str, Tensor] = {}
    for key, tensor in load_file(adapter / "adapter_model.safetensors").items():
        name = key.removeprefix(PREFIX)
        if found := _PART.fullmatch(name):
            parts.setdefault(found["module"], {})[found["part"].partition(".")[0]] = tensor
        elif "lora_" in name:
            raise InputError(
                "This adapter cannot be merged",
                f"{key} in {adapter} is a part of LoRA that is not a low-rank update of a linear layer.",
                "Export it with --as adapter.",
            )
        else:
            replaced[name.replace(".modules_to_save", "")] = tensor
    updates = {module: _update(module, part, config) for module, part in parts.items()}
    return AdapterUpdates(config, updates, replaced)


def _update(module: str, part: dict[str, Tensor], config: LoraConfig) -> LowRankUpdate:
    down, up = part["lora_A"], part["lora_B"]
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
    divisor = down.shape[0] ** 0.5 if config.use_rslora else down.shape[0]
    return LowRankUpdate(down, up, alpha / divisor, part.get("lora_magnitude_vector"))


def require_fit(updates: AdapterUpdates, base: BaseWeights) -> None:
    """Raise InputError when the adapter changes something that the base's files do not hold."""
    missing = [name for name in updates.low_rank if f"{name}.weight" not in base.entries]
    missing += [name for name in updates.replaced if name not in base.entries]
    if missing:
        is_tied = getattr(base.config, "tie_word_embeddings", False)
        raise InputError(
            "The adapter does not fit this base",
            f"{base.folder} has no weight of its own for {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + (", because its embeddings are tied" if is_tied and "lm_head" in missing[0] else "")
            + ".",
            "Export it with --as adapter, or merge it on the machine that has its base.",
        )
    for name, update in updates.low_rank.items():
        shape = base.entries[f"{name}.weight"].shape
        adapted = (update.up.shape[0], update.down.shape[1])
        if tuple(shape) not in (adapted, adapted[::-1]):
            raise InputError(
                "The adapter does not fit this base",
                f"{name}: the base's weight is {tuple(shape)}, the adapter's {adapted}.",
                "Merge it into the model that it was trained on.",
            )

"""The changes that an adapter makes to its base's weights, and how each is applied to a weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor


@dataclass(frozen=True)
class LowRankUpdate:
    """weight + scale * B A, with DoRA's magnitudes if it has them.

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
class Scaling:
    """weight x factor, for each output row or for each input column."""

    factor: Tensor
    """(outputs, 1) or (1, inputs)."""

    @property
    def is_of_outputs(self) -> bool:
        return self.factor.shape[1] == 1

    def apply(self, weight: Tensor) -> Tensor:
        """The merged weight (outputs, inputs) in fp32."""
        return weight.float() * self.factor.float()

    def apply_to_bias(self, bias: Tensor) -> Tensor:
        """The merged bias (outputs) in fp32."""
        return bias.float() * self.factor.float().flatten() if self.is_of_outputs else bias


@dataclass(frozen=True)
class ExpertUpdate:
    """The same for all experts of a layer, whose weights are one tensor (experts, outputs, inputs).

    With `is_transposed` it is (experts, inputs, outputs).

    PEFT keeps the factors of all of them as two matrices (peft.tuners.lora.layer.ParamWrapper): A's rows are grouped by
    expert, B's columns by rank.
    """

    down: Tensor
    """A of every expert: (experts x rank, inputs)."""
    up: Tensor
    """B of every expert: (outputs, rank x experts)."""
    experts: int
    scale: float
    is_transposed: bool = False

    def apply(self, weights: Tensor) -> Tensor:
        """The merged weights of all experts in fp32."""
        merged = weights.float()
        for expert in range(self.experts):
            weight = merged[expert].T if self.is_transposed else merged[expert]
            change = self.of(expert, 0, 1).apply(weight)
            merged[expert] = change.T if self.is_transposed else change
        return merged

    def of(self, expert: int, piece: int, pieces: int) -> LowRankUpdate:
        """One expert's update, of one of equal pieces of its rows."""
        down = self.down.reshape(self.experts, -1, self.down.shape[1])[expert]
        up = self.up.reshape(self.up.shape[0], -1, self.experts)[:, :, expert]
        return LowRankUpdate(down, up.chunk(pieces)[piece].contiguous(), self.scale)


@dataclass(frozen=True)
class AdapterUpdates:
    """All changes that an adapter makes to its base."""

    config: PeftConfig | None
    low_rank: dict[str, LowRankUpdate] = field(default_factory=dict)
    """By the module's name in the base."""
    nested: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """A and B of tensors without a module of their own, the experts of a mixture: by PEFT's name of the wrapper."""
    scaled: dict[str, Scaling] = field(default_factory=dict)
    """By the module's name in the base."""
    replaced: dict[str, Tensor] = field(default_factory=dict)
    """Fully trained weights (`modules_to_save`), and embeddings that PEFT saves beside their adapter, by the tensor's
    name in the base."""

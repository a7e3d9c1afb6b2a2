"""The memory that each tuning adds to a step: one module per kind, with its name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.config.spec import Tuning
    from tuner_tui.models.weight_count import Matrix, WeightCount
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Workload


class TuningMemory(Protocol):
    """The interface of a tuning's module. Counts are parameters, everything else bytes."""

    def settings(self, tuning: Any) -> Mapping[str, Any]:
        """The fields of a workload that the tuning's options set."""

    def refusal(self, tuning: Any, model_type: str, modules: frozenset[str]) -> tuple[str, str] | None:
        """Why a model of this type cannot be tuned with these options, and what to do; None where it can.

        `modules` are the last parts of its linear layers' names; empty where they are not known.
        """

    def is_target(self, matrix: Matrix, weights: WeightCount, load: Workload) -> bool:
        """Whether a matrix of these weights is adapted."""

    def parameters(self, shape: ModelShape, load: Workload) -> int:
        """Trained parameters, without full copies of the embedding and the output layer."""

    def largest(self, shape: ModelShape, load: Workload) -> int:
        """Elements of the largest trained tensor."""

    def factored(self, shape: ModelShape, load: Workload) -> int:
        """Elements of Adafactor's state: a row and a column of squared sums for a matrix, all of a vector."""

    def saved_bytes(self, shape: ModelShape, load: Workload) -> int:
        """Bytes per token that one layer keeps for the gradients of trained parameters."""

    def keeps_mlp_product(self, shape: ModelShape, load: Workload) -> bool:
        """Whether these include the input of the MLP's last matrix."""

    def casts_mlp_product(self, load: Workload) -> bool:
        """Whether a copy of that input in another type is saved for the backward pass."""

    def autocast_copies(self, shape: ModelShape, load: Workload, adapters: int) -> int:
        """Bytes of 16-bit copies that autocast keeps of trained fp32 weights until the forward pass ends."""

    def moving(self, shape: ModelShape, load: Workload) -> int:
        """Temporary bytes of one matrix, if that may exceed a layer's backward pass."""

    def expert_copies(self, shape: ModelShape, load: Workload) -> int:
        """Bytes of a layer's experts with their adapters added, which are kept for the backward pass."""

    def words(self, shape: ModelShape, load: Workload, adapter_bytes: int) -> str:
        """The formula of the adapter's size with this model's values."""


@cache
def memory_of(kind: str) -> TuningMemory:
    """The module of a tuning."""
    return cast("TuningMemory", import_module(f"{__name__}.{kind}"))


def tuning_fields(tuning: Tuning) -> Mapping[str, Any]:
    """The fields of a workload that a tuning's options set."""
    return memory_of(tuning.kind).settings(tuning)

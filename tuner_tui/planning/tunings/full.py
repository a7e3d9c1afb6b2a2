"""Full tuning in memory: all weights have gradients, and all linear layers keep their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.planning.widths import input_widths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.models.weight_count import Matrix, WeightCount
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Workload


def settings(tuning: Any) -> Mapping[str, Any]:
    return {}


def refusal(tuning: Any, model_type: str, modules: frozenset[str]) -> tuple[str, str] | None:
    """Every model can."""
    return None


def is_target(matrix: Matrix, weights: WeightCount, load: Workload) -> bool:
    """There is no adapter."""
    return False


def parameters(shape: ModelShape, load: Workload) -> int:
    return shape.weights.total


def largest(shape: ModelShape, load: Workload) -> int:
    return max([shape.table, *(matrix.inputs * matrix.outputs for matrix in shape.weights.matrices)])


def factored(shape: ModelShape, load: Workload) -> int:
    sums = sum((matrix.inputs + matrix.outputs) * matrix.count for matrix in shape.weights.matrices)
    return sums + shape.weights.other + shape.vocab + shape.hidden


def saved_bytes(shape: ModelShape, load: Workload) -> int:
    c, widths = load.compute_bytes, input_widths(shape)
    if load.autocast and load.stream_bytes == 4:  # each linear layer casts its input separately
        readers = 1 if shape.family.fused_inputs else 3
        gates = 1 if shape.family.fused_inputs else shape.family.mlp_matrices - 1
        return 2 * shape.hidden * (readers + gates) + 2 * widths["mlp output"]
    return c * (2 * shape.hidden + widths["mlp output"])


def keeps_mlp_product(shape: ModelShape, load: Workload) -> bool:
    return True


def casts_mlp_product(load: Workload) -> bool:
    return False


def autocast_copies(shape: ModelShape, load: Workload, adapters: int) -> int:
    if not load.autocast or load.weight_bytes != 4:
        return 0
    return 2 * (shape.weights.linear - shape.weights.tower + shape.weights.experts)


def moving(shape: ModelShape, load: Workload) -> int:
    return 0


def expert_copies(shape: ModelShape, load: Workload) -> int:
    return 0


def words(shape: ModelShape, load: Workload, adapter_bytes: int) -> str:
    return ""

"""Prompt tuning in memory: a few virtual tokens before each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.models.weight_count import Matrix, WeightCount
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Workload


def settings(tuning: Any) -> Mapping[str, Any]:
    return {}


def is_target(matrix: Matrix, weights: WeightCount, load: Workload) -> bool:
    """No matrix has an adapter."""
    return False


def parameters(shape: ModelShape, load: Workload) -> int:
    return load.virtual_tokens * shape.hidden


def largest(shape: ModelShape, load: Workload) -> int:
    return load.virtual_tokens * shape.hidden


def factored(shape: ModelShape, load: Workload) -> int:
    return load.virtual_tokens + shape.hidden


def saved_bytes(shape: ModelShape, load: Workload) -> int:
    return 0


def keeps_mlp_product(shape: ModelShape, load: Workload) -> bool:
    return False


def casts_mlp_product(load: Workload) -> bool:
    return False


def autocast_copies(shape: ModelShape, load: Workload, adapters: int) -> int:
    return 0


def moving(shape: ModelShape, load: Workload) -> int:
    return 0


def expert_copies(shape: ModelShape, load: Workload) -> int:
    return 0


def words(shape: ModelShape, load: Workload, adapter_bytes: int) -> str:
    return f"{load.virtual_tokens} x {shape.hidden}"

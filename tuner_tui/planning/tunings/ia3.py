"""IA3 in memory: a factor for each output of keys and values and for each input of the MLP's last matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.planning.tunings.targets import missing_targets
from tuner_tui.planning.widths import INPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.config.tunings.ia3 import Ia3Tuning
    from tuner_tui.models.weight_count import Matrix, WeightCount
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Workload

KEYS_AND_VALUES = frozenset(
    ("k_proj", "v_proj", "key", "value", "query_key_value", "qkv_proj", "c_attn", "Wqkv")
)


def settings(tuning: Ia3Tuning) -> Mapping[str, Any]:
    return {"targets": tuning.targets}


def refusal(tuning: Ia3Tuning, model_type: str, modules: frozenset[str]) -> tuple[str, str] | None:
    """Targets that the model does not have."""
    if not modules:
        return None
    if tuning.targets != "auto":
        return missing_targets(tuning.targets, modules)
    if KEYS_AND_VALUES & modules:
        return None
    return (
        f"its attention layers are unknown: {model_type} has none of {', '.join(sorted(KEYS_AND_VALUES))}",
        f"Set tuning.targets to some of its linear layers: {', '.join(sorted(modules))}.",
    )


def is_target(matrix: Matrix, weights: WeightCount, load: Workload) -> bool:
    """PEFT scales modules; experts in 3-D tensors are not modules."""
    name = matrix.name
    if matrix.place != "layer" and (matrix.place != "expert" or load.stack.fused_experts):
        return False
    if load.targets == "auto":
        return name in KEYS_AND_VALUES or _scales_inputs(name)
    return name in {target.rpartition(".")[2] for target in load.targets}


def _scales_inputs(name: str) -> bool:
    return INPUTS.get(name) == "mlp output"


def _factors(matrix: Matrix) -> int:
    return matrix.inputs if _scales_inputs(matrix.name) else matrix.outputs


def parameters(shape: ModelShape, load: Workload) -> int:
    return sum(
        _factors(matrix) * matrix.count
        for matrix in shape.weights.matrices
        if is_target(matrix, shape.weights, load)
    )


def largest(shape: ModelShape, load: Workload) -> int:
    return max(map(_factors, shape.weights.matrices), default=0)


def factored(shape: ModelShape, load: Workload) -> int:
    """PEFT stores the factors as matrices of one row or column, which Adafactor treats as matrices."""
    return parameters(shape, load) + sum(
        matrix.count for matrix in shape.weights.matrices if is_target(matrix, shape.weights, load)
    )


def saved_bytes(shape: ModelShape, load: Workload) -> int:
    """The multiplied tensors: outputs unchanged, inputs cast to the factors' dtype."""
    saved = 0.0
    for matrix in shape.weights.matrices:
        if not is_target(matrix, shape.weights, load):
            continue
        per_layer = matrix.count / shape.layers
        if matrix.place == "expert":
            per_layer *= shape.experts_per_token / max(shape.experts, 1)
        bytes_each = load.adapter_bytes if _scales_inputs(matrix.name) else load.compute_bytes
        saved += bytes_each * _factors(matrix) * per_layer
    return int(saved)


def keeps_mlp_product(shape: ModelShape, load: Workload) -> bool:
    return any(
        _scales_inputs(matrix.name) and is_target(matrix, shape.weights, load)
        for matrix in shape.weights.matrices
    )


def casts_mlp_product(load: Workload) -> bool:
    return load.compute_bytes != load.adapter_bytes


def autocast_copies(shape: ModelShape, load: Workload, adapters: int) -> int:
    """Factors are not cast: what they multiply is."""
    return 0


def moving(shape: ModelShape, load: Workload) -> int:
    """The product's gradient, its share of the inputs' and of the factors' gradient, in the factors' type."""
    widest = max(
        (_factors(matrix) for matrix in shape.weights.matrices if is_target(matrix, shape.weights, load)),
        default=0,
    )
    return 3 * load.adapter_bytes * load.tokens * widest


def expert_copies(shape: ModelShape, load: Workload) -> int:
    return 0


def words(shape: ModelShape, load: Workload, adapter_bytes: int) -> str:
    return f"{adapter_bytes // load.adapter_bytes:,} factors, {load.adapter_bytes} bytes"

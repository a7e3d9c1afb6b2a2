"""Memory in use between steps: weights by precision, adapters, gradients and optimizer states."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.tunings import memory_of
from tuner_tui.planning.workload import OptimizerKind, Workload

NF4_BLOCK = 64
"""Weights per 8-bit scale."""
NF4_SCALES_BLOCK = 256
"""Scales per 32-bit scale (double quantisation)."""
INT8_ROW_BYTES = 4
"""In int8 each row of a matrix has one 32-bit scale."""
EIGHT_BIT_BLOCK = 256
"""Elements of an 8-bit optimizer state per 32-bit scale."""


@dataclass(frozen=True)
class LoadedWeights:
    """Bytes of the base."""

    matrices: int
    constants: int
    """Scales of quantised matrices."""
    rest: int
    """Unquantised experts, embeddings, norms and biases."""

    @property
    def total(self) -> int:
        """All bytes."""
        return self.matrices + self.constants + self.rest


def loaded_weights(shape: ModelShape, load: Workload, stored_bytes: int | None = None) -> LoadedWeights:
    """The base as loaded by bitsandbytes and transformers; `stored_bytes` is for weights used as stored."""
    counted, stack = shape.weights, load.stack
    if load.loaded_as == "stored" and stored_bytes is not None:
        return LoadedWeights(stored_bytes, 0, 0)
    packed, rows = counted.linear, counted.linear_rows
    rest = counted.unquantised
    upcast = 2 * counted.other if stack.fp32_stream else 0
    head = shape.table if stack.own_tables and shape.tied else 0
    if stack.fused_experts:
        rest += counted.experts
    else:
        packed += counted.experts
        rows += sum(matrix.outputs * matrix.count for matrix in counted.matrices if matrix.place == "expert")
    if stack.quantised_head and load.loaded_as == "nf4":
        packed, rest = packed + counted.head + head, rest - counted.head
    else:
        rest += head
    if load.loaded_as == "nf4":
        scales = packed / NF4_BLOCK
        constants = scales * (1 + 4 / NF4_SCALES_BLOCK if stack.double_quantised else 4)
        return LoadedWeights(packed // 2, math.ceil(constants), rest * load.weight_bytes + upcast)
    if load.loaded_as == "int8":
        return LoadedWeights(packed, rows * INT8_ROW_BYTES, rest * load.weight_bytes + upcast)
    size = load.weight_bytes
    return LoadedWeights(packed * size, 0, rest * size)


def trained_numbers(shape: ModelShape, load: Workload) -> int:
    """How many parameters are trained."""
    return memory_of(load.tuning).parameters(shape, load) + (2 * shape.table if load.trains_tables else 0)


def trains_nothing(shape: ModelShape, load: Workload) -> bool:
    """Whether an adapter's targets match no matrix of the model, as far as names are known."""
    if load.trains_base or shape.experts or not shape.is_known:
        return False
    return memory_of(load.tuning).parameters(shape, load) == 0


def trained_bytes(shape: ModelShape, load: Workload) -> int:
    """Bytes of the adapter's parameters; 0 for full tuning, where the base itself is trained."""
    if load.trains_base:
        return 0
    tables = 2 * shape.table if load.trains_tables else 0
    return (trained_numbers(shape, load) - tables) * load.adapter_bytes + tables * load.weight_bytes


def gradient_bytes(shape: ModelShape, load: Workload, adapters: int) -> int:
    """Bytes of all gradients, which have their parameters' dtype; `adapters` is the result of `trained_bytes`."""
    return shape.weights.total * load.weight_bytes if load.trains_base else adapters


def optimizer_bytes(shape: ModelShape, load: Workload, gradients: int) -> int:
    """Bytes of an optimizer's states: torch's have the parameter's dtype, 8-bit ones have scales per block."""
    match load.optimizer:
        case "adamw" | "adamw_foreach" | "paged_adamw":
            return 2 * gradients
        case "adamw_8bit" | "paged_adamw_8bit":
            return round(2 * (1 + 4 / EIGHT_BIT_BLOCK) * trained_numbers(shape, load))
        case "adafactor":
            return 4 * memory_of(load.tuning).factored(shape, load)  # in fp32
        case "sgd":
            return 0


def step_copy_bytes(shape: ModelShape, load: Workload, gradients: int) -> int:
    """Temporary memory of an optimizer step: foreach's and adafactor's copies."""
    if load.optimizer == "adamw_foreach":
        return gradients
    if load.optimizer == "adafactor":  # one tensor at a time, in fp32
        return 3 * 4 * largest_trained(shape, load)
    return 0


def is_paged(optimizer: OptimizerKind) -> bool:
    """Whether states are in paged memory outside torch's allocator, which can move to the host."""
    return optimizer.startswith("paged")


def largest_trained(shape: ModelShape, load: Workload) -> int:
    """Elements of the largest trained tensor."""
    if load.trains_tables and not load.trains_base:
        return shape.table
    return memory_of(load.tuning).largest(shape, load)

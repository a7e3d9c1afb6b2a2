"""The moments of a step at which memory is highest, from resident and temporary memory."""

from __future__ import annotations

from dataclasses import dataclass

from tuner_tui.hardware.environment import MALLOC_THRESHOLD_BYTES
from tuner_tui.planning.head import HeadBytes, head_bytes
from tuner_tui.planning.layers import LayerBytes, layer_bytes
from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.states import (
    LoadedWeights,
    gradient_bytes,
    is_paged,
    loaded_weights,
    optimizer_bytes,
    step_copy_bytes,
    trained_bytes,
)
from tuner_tui.planning.tunings import memory_of
from tuner_tui.planning.workload import Workload

MISC_BYTES = 17_000_000
"""cuBLAS workspaces, position tables and small buffers: measured static memory less the weights of published runs."""
HOLES = 0.9
"""Fragmentation, relative to what adapters keep in main memory in small blocks: malloc reuses a
freed aligned block only for smaller ones (tests/benchmarks/memory_cpu.py: 0.6 to 1.9)."""
KV_BYTES = 2
"""Bytes of a cached key or value."""
SAMPLING_BYTES = 12
"""Bytes per logit in generation: fp32 logits, their softmax and its sum."""


@dataclass(frozen=True)
class Peak:
    """A moment of a step with a local maximum of memory."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Parts:
    """Bytes of everything that a step needs."""

    base: LoadedWeights
    copies: int
    """How many complete models are in memory."""
    adapters: int
    gradients: int
    states: int
    layer: LayerBytes
    head: HeadBytes
    activations: int
    """Activations that all layers keep from the forward to the backward pass."""
    experts: int
    """A layer's experts with their adapters added."""
    cast: int
    """16-bit copies that autocast keeps of trained fp32 weights until the forward pass ends."""
    in_layer: int
    """Temporary memory of one layer in the backward pass."""
    frozen: int = 0
    """A frozen copy of the adapters, the reference."""
    holes: int = 0
    """In main memory: freed blocks between used ones, which malloc neither reuses nor returns."""

    def resident(self, load: Workload) -> int:
        """Memory in torch's allocator between steps."""
        return self.weights + self.adapters + self.frozen + (0 if is_paged(load.optimizer) else self.states)

    @property
    def weights(self) -> int:
        """All models' weights."""
        return self.base.total * self.copies


def parts_of(shape: ModelShape, load: Workload, stored_bytes: int | None = None) -> Parts:
    """The parts of a step; `stored_bytes` is the size of weights used as they are stored."""
    layer = layer_bytes(shape, load)
    adapters = trained_bytes(shape, load)
    gradients = gradient_bytes(shape, load, adapters)
    states = optimizer_bytes(shape, load, gradients)
    traits, tuning = load.method_traits, memory_of(load.tuning)
    trained = traits.trained_models
    # micro-batches that are computed at the same time keep theirs until the step's last one has ended
    kept_gradients = 1 if load.concurrent == 1 else 1 + load.concurrent
    adapter_copies = traits.models if load.shared_base else 1
    experts, is_kept = tuning.expert_copies(shape, load), load.checkpointing == "off"
    product = 2 * load.compute_bytes * load.tokens * shape.intermediate
    moving = max(
        load.tokens * layer.transient,
        product + load.concurrent * _dequantised(shape, load),
        tuning.moving(shape, load),
    )
    moving += experts // 3  # the gradient of the smaller of the two tensors
    return Parts(
        loaded_weights(shape, load, stored_bytes), _copies(load), adapters * adapter_copies,
        gradients * trained * kept_gradients,
        states * trained, layer, head_bytes(shape, load), _activations(shape, load, layer, experts), experts,
        tuning.autocast_copies(shape, load, adapters), moving + (0 if is_kept else load.tokens * layer.saved + experts),
        adapters if load.reference == "frozen copy" else 0, _holes(shape, load, layer),
    )  # fmt: skip


def peaks_of(shape: ModelShape, load: Workload, parts: Parts) -> tuple[Peak, ...]:
    """Allocated bytes at each moment that can be the highest, the highest first."""
    tokens, layers = load.tokens, max(shape.layers, 1)
    resident = parts.resident(load) + MISC_BYTES
    standing = resident + parts.holes + (parts.gradients if load.accumulates else 0)
    is_kept, is_full = load.checkpointing == "off", load.trains_base
    table = shape.table * load.weight_bytes if is_full else 0
    head_gradient = 0 if load.method_traits.head == "score" else table
    of_layer = _layer_gradients(shape, load, parts.gradients)

    forward = standing + parts.activations + parts.cast + parts.head.forward
    backward = standing + parts.activations + (parts.cast if is_kept else 0) + parts.head.backward
    made = 0 if load.accumulates else head_gradient + of_layer
    first = (
        standing
        + made
        + parts.activations
        + parts.in_layer
        + (parts.cast if is_kept else parts.cast // layers)
    )
    one = tokens * (parts.layer.saved if is_kept else parts.layer.boundary)
    unmade = (
        0 if load.accumulates or (shape.tied and head_gradient) else table
    )  # that of the input embedding comes last
    last = resident + parts.gradients - unmade + one + parts.in_layer + parts.cast // layers
    peaks = [
        Peak("loss", max(forward, backward)),
        Peak("first layer backward", first),
        Peak("last layer backward", last),
        Peak("optimizer step", resident + parts.gradients + step_copy_bytes(shape, load, parts.gradients)),
    ]
    if is_full:  # a tied embedding has a gradient for each use, and their sum
        peaks.append(
            Peak("embedding backward", resident + parts.gradients + (2 * head_gradient if shape.tied else 0))
        )
    if load.compares:
        reference = max(tokens * parts.layer.forward, parts.head.forward)
        peaks.append(Peak("reference", standing + parts.activations + reference))
    if load.method_traits.generates:
        peaks.append(Peak("generating answers", standing + generation_bytes(shape, load)))
    return tuple(sorted(peaks, key=lambda peak: -peak.bytes))


def generation_bytes(shape: ModelShape, load: Workload) -> int:
    """KV cache of a batch of answers at full length, and the logits of one step."""
    sequences = max(load.rows, load.answers) if load.method_traits.answers_in_groups else load.rows
    cached = 2 * shape.layers * shape.kv * KV_BYTES * sequences * load.sequence_length
    return cached + sequences * shape.vocab * SAMPLING_BYTES


def _activations(shape: ModelShape, load: Workload, layer: LayerBytes, experts: int) -> int:
    match load.checkpointing:
        case "on":
            return load.tokens * layer.boundary * shape.layers
        case "offloaded":
            return load.tokens * layer.boundary
        case "off":
            return shape.layers * (load.tokens * layer.saved + experts) + load.tokens * layer.boundary


def _holes(shape: ModelShape, load: Workload, layer: LayerBytes) -> int:
    """Fragmentation by adapters, which free as many blocks as they keep; blocks above the threshold cause none."""
    if load.is_gpu or load.trains_base or load.checkpointing != "off":
        return 0
    per_token = 0
    tokens = load.micro_batch_tokens
    if tokens * shape.hidden * load.compute_bytes < MALLOC_THRESHOLD_BYTES:
        per_token += layer.saved - layer.wide
    if tokens * shape.intermediate * load.compute_bytes < MALLOC_THRESHOLD_BYTES:
        per_token += layer.wide
    return round(HOLES * load.tokens * per_token * shape.layers)


def _copies(load: Workload) -> int:
    traits = load.method_traits
    if traits.models > 1 and not (load.shared_base and not load.trains_base):
        return traits.models
    if load.compares and not traits.generates and load.reference == "second model":
        return 2
    return 1


def _layer_gradients(shape: ModelShape, load: Workload, gradients: int) -> int:
    if load.trains_base:
        counted = shape.weights
        return (counted.linear + counted.experts) * load.weight_bytes // max(shape.layers, 1)
    return gradients // max(shape.layers, 1)


def _dequantised(shape: ModelShape, load: Workload) -> int:
    """The largest quantised matrix, dequantised while it is used."""
    if load.loaded_as not in ("int8", "nf4", "stored"):
        return 0
    return 2 * max(
        (matrix.inputs * matrix.outputs for matrix in shape.weights.matrices if matrix.place == "layer"),
        default=0,
    )

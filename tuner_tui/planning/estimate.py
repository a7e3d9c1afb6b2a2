"""The memory of a training run: every term by name, the peaks of a step, and what the driver will show.

Sources: the libraries' own code (each module's text says which) and the published measurements that
tests/benchmarks/memory.py judges it by. Pure arithmetic: no torch, no files, well under a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner_tui.planning.head import head_bytes
from tuner_tui.planning.layers import layer_bytes
from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.states import (
    gradient_bytes,
    held_weights,
    is_paged,
    optimizer_bytes,
    step_copy_bytes,
    trained_bytes,
)
from tuner_tui.planning.workload import SAMPLED, Workload

GIB = 1 << 30
MISC_BYTES = 17_000_000
"""cuBLAS workspaces, position tables and small buffers: METHOD's difference between static memory and weights."""
CONTEXT_LOW, CONTEXT_HIGH = round(0.3 * GIB), round(1.46 * GIB)
"""CUDA's own memory outside torch's allocator, by card and driver; measured values replace them."""
PROCESS_LOW, PROCESS_HIGH = round(0.4 * GIB), round(1.0 * GIB)
"""What a worker holds on a CPU before the model: libraries, tokenizer and data."""
VARIED_SHARE = 0.8
"""Of the memory that comes and goes, what varying lengths may hold in split blocks at worst."""
UNKNOWN_SHARE = 0.6
"""How far the activations of an architecture that was never compared may be off, either way."""


@dataclass(frozen=True)
class Term:
    """One part of the memory."""

    name: str
    bytes: int
    words: str = ""
    """Its formula with this model's numbers."""


@dataclass(frozen=True)
class Peak:
    """A moment of a step at which memory is highest for a while."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """How much memory a run takes. `allocated` is what torch's allocator hands out at most."""

    terms: tuple[Term, ...]
    """They add up to `allocated`: what is held, and what the highest peak needs on top."""
    peaks: tuple[Peak, ...]
    """Allocated bytes at each moment, the highest first."""
    allocated: int
    low: int
    """Least bytes that the driver will show."""
    high: int
    """Most bytes that the driver will show."""
    weights: int
    states: int
    """Adapters, gradients and optimizer states."""
    activations: int
    """Everything else."""
    is_known: bool = True
    """False where the architecture's activations are a guess, so that the range is wide."""
    measured: int = 0
    """How many runs on this machine stand behind the range."""

    @property
    def likely(self) -> int:
        """The middle of what the driver may show: the one number to tell."""
        return (self.low + self.high) // 2

    @property
    def peak(self) -> Peak:
        """The highest moment."""
        return self.peaks[0]


def estimate_memory(shape: ModelShape, load: Workload, stored_bytes: int | None = None) -> Estimate:
    """Terms, peaks and range of one workload; `stored_bytes` is the size of weights used as they are stored."""
    if load.method == "reward":  # a score in place of the output layer
        shape = replace(shape, weights=replace(shape.weights, head=0))
    layer, head = layer_bytes(shape, load), head_bytes(shape, load)
    base = held_weights(shape, load, stored_bytes)
    copies = _copies(shape, load)
    adapters = trained_bytes(shape, load) * (4 if load.method == "ppo" and load.shared_base else 1)
    gradients, states = gradient_bytes(shape, load), optimizer_bytes(shape, load)
    if load.method == "ppo":
        gradients, states = 2 * gradients, 2 * states
    tokens, layers = load.tokens, shape.layers
    in_allocator = 0 if is_paged(load.optimizer) else states
    held = base.total * copies + adapters + in_allocator + MISC_BYTES
    standing = gradients if load.accumulates else 0
    cache = _cast_weights(shape, load)
    kept = (
        layer.boundary
        if load.checkpointing == "on"
        else 0
        if load.checkpointing == "offloaded"
        else layer.saved
    )
    activations = tokens * kept * layers + (0 if load.checkpointing == "on" else tokens * layer.boundary)
    is_kept = load.checkpointing == "off"
    per_layer = _layer_gradients(shape, load)
    table_gradient = shape.table * load.weight_bytes if load.tuning == "full" else 0
    head_gradient = 0 if load.method == "reward" else table_gradient

    forward_end = held + standing + activations + cache + head.forward
    head_back = held + standing + activations + (cache if is_kept else 0) + head.backward
    product = 2 * load.compute_bytes * tokens * shape.intermediate
    moving = max(tokens * layer.transient, product + _dequantised(shape, load))
    in_layer = moving + (0 if is_kept else tokens * layer.saved)
    cast_layer = cache // max(layers, 1) if not is_kept else cache
    first = held + max(standing, head_gradient + per_layer) + activations + in_layer + cast_layer
    rest = tokens * layer.boundary if not is_kept else tokens * layer.saved
    unmade = 0 if shape.tied and head_gradient else table_gradient  # the input table's comes last
    last = held + gradients - (0 if load.accumulates else unmade) + rest + in_layer + cache // max(layers, 1)
    tables = (
        held + gradients + (2 * head_gradient if shape.tied else 0)
    )  # both uses' gradients, and their sum
    step = held + gradients + step_copy_bytes(shape, load)
    peaks = [
        Peak("loss", max(forward_end, head_back)),
        Peak("first layer backward", first),
        Peak("last layer backward", last),
        Peak("optimizer step", step),
    ]
    if load.tuning == "full":
        peaks.append(Peak("embedding backward", tables))
    if load.method in ("dpo", "kto", "grpo", "rloo", "ppo") and not load.precomputed_reference:
        reference = max(tokens * layer.forward, head.forward)
        peaks.append(Peak("reference", held + standing + activations + reference))
    if load.method in SAMPLED:
        peaks.append(Peak("writing answers", held + standing + generation_bytes(shape, load)))
    peaks.sort(key=lambda peak: -peak.bytes)
    allocated = peaks[0].bytes
    held_terms = _terms(
        shape, load, base.matrices * copies, base.constants * copies, base.rest * copies, adapters, states
    )
    terms = _with_peak(
        held_terms, peaks[0], allocated, load, gradients=gradients, activations=activations, words=head.words
    )
    low, high = driver_range(shape, load, allocated, peaks, head.backward, in_layer)
    held_states = adapters + gradients + states
    return Estimate(
        terms,
        tuple(peaks),
        allocated,
        low,
        high,
        base.total * copies,
        held_states,
        max(0, allocated - base.total * copies - adapters - in_allocator - gradients),
        shape.is_known,
    )


def generation_bytes(shape: ModelShape, load: Workload) -> int:
    """Keys and values of all answers at their longest, and the logits of one step."""
    sequences = load.sequences * (load.answers if load.method in ("grpo", "rloo") else 1)
    cached = 2 * shape.layers * shape.kv * 2 * sequences * (load.length + load.answer_length)
    return cached + sequences * shape.vocab * 12


def driver_range(
    shape: ModelShape, load: Workload, allocated: int, peaks: list[Peak], head: int, in_layer: int
) -> tuple[int, int]:
    """Least and most bytes that the driver will show: the context, and blocks that the allocator keeps.

    The allocator hands freed blocks out again only where they fit: at worst a loss over whole logits keeps blocks of
    its own beside the layers', and a fused one at most what the smaller of the two needs. Varying lengths split blocks
    further, most without expandable segments (published runs: 14 to 80 % above what was allocated).
    """
    if not load.is_gpu:
        return _process_range(shape, allocated)
    paged = optimizer_bytes(shape, load) if is_paged(load.optimizer) else 0
    moving = max(0, allocated - min(peak.bytes for peak in peaks))
    if load.loss in ("plain", "chunked"):
        reserve = max(GIB, round(0.1 * allocated)) + head
    else:
        reserve = max(GIB, round(0.05 * allocated)) + min(head, in_layer)
    if load.varied:
        reserve += round(0.1 * allocated) if load.stack.expandable_segments else round(VARIED_SHARE * moving)
    low, high = allocated, allocated + reserve
    if not shape.is_known:
        low, high = low - round(UNKNOWN_SHARE * moving), high + round(UNKNOWN_SHARE * moving)
    return low + CONTEXT_LOW, high + CONTEXT_HIGH + paged


def _process_range(shape: ModelShape, allocated: int) -> tuple[int, int]:
    """Resident memory of a worker on a CPU: PyTorch and its kin, and blocks that malloc does not give back."""
    share = UNKNOWN_SHARE if not shape.is_known else 0.0
    return round((1 - share) * allocated) + PROCESS_LOW, round((1.3 + share) * allocated) + PROCESS_HIGH


def _copies(shape: ModelShape, load: Workload) -> int:
    """How many whole models are held."""
    if load.method == "ppo" and not (load.shared_base and load.tuning != "full"):
        return 4
    if load.method in ("dpo", "kto") and load.tuning == "full" and not load.precomputed_reference:
        return 2
    return 1


def _cast_weights(shape: ModelShape, load: Workload) -> int:
    """16-bit copies that autocast keeps of weights in fp32 which are trained, until the forward pass ends."""
    if not load.autocast:
        return 0
    if load.tuning == "full" and load.weight_bytes == 4:
        return 2 * (shape.weights.linear - shape.weights.tower + shape.weights.experts)
    if load.tuning == "lora" and load.adapter_bytes == 4:
        return trained_bytes(shape, load) // 2
    return 0


def _layer_gradients(shape: ModelShape, load: Workload) -> int:
    """Gradients of one layer."""
    if load.tuning == "full":
        counted = shape.weights
        return (counted.linear + counted.experts) * load.weight_bytes // max(shape.layers, 1)
    return gradient_bytes(shape, load) // max(shape.layers, 1)


def _dequantised(shape: ModelShape, load: Workload) -> int:
    """The largest quantised matrix, unpacked while it is used."""
    if load.held not in ("int8", "nf4", "stored"):
        return 0
    return 2 * max(
        (each.inputs * each.outputs for each in shape.weights.matrices if each.place == "layer"), default=0
    )


def _terms(
    shape: ModelShape, load: Workload, matrices: int, constants: int, rest: int, adapters: int, states: int
) -> list[Term]:
    numbers = shape.weights
    terms = [Term("weights", matrices + rest, f"{numbers.total:,} numbers as {load.held}")]
    if constants:
        terms.append(Term("quantisation constants", constants, f"scales of {numbers.linear:,} numbers"))
    if adapters:
        words = f"rank {load.rank}" if load.tuning == "lora" else f"{load.virtual_tokens} x {shape.hidden}"
        terms.append(Term("adapters", adapters, words))
    if states:
        where = ", in pages that may move to the host" if is_paged(load.optimizer) else ""
        terms.append(
            Term("optimizer states", 0 if is_paged(load.optimizer) else states, load.optimizer + where)
        )
    return terms


def _with_peak(
    terms: list[Term],
    peak: Peak,
    allocated: int,
    load: Workload,
    *,
    gradients: int,
    activations: int,
    words: str,
) -> tuple[Term, ...]:
    """The terms with those that the highest moment adds; together they are what is allocated."""
    left = allocated - sum(term.bytes for term in terms) - MISC_BYTES
    has_gradients = load.accumulates or peak.name in (
        "optimizer step",
        "last layer backward",
        "embedding backward",
    )
    parts = []
    if has_gradients:
        parts.append(Term("gradients", min(gradients, left)))
        left -= parts[-1].bytes
    if peak.name in ("loss", "first layer backward", "reference"):
        name = "checkpoint boundaries" if load.checkpointing == "on" else "saved activations"
        per = f"{load.tokens:,} tokens"
        parts.append(Term(name, min(activations, left), per))
        left -= parts[-1].bytes
    named = {
        "loss": "loss head",
        "first layer backward": "one layer, recomputed"
        if load.checkpointing != "off"
        else "one layer, backward",
        "last layer backward": "one layer, recomputed",
        "optimizer step": "optimizer step copy",
        "embedding backward": "embedding gradient",
        "reference": "reference pass",
        "writing answers": "keys and values of answers",
    }[peak.name]
    if left > 0:
        parts.append(Term(named, left, words if peak.name == "loss" else ""))
    return (*terms, *parts, Term("workspaces", MISC_BYTES))

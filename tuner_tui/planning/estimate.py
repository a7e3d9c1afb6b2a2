"""Estimates the memory of a training run: named terms, the peaks of a step, and what the driver will show.

Sources: the libraries' code (named in each module) and the published measurements in tests/benchmarks/memory.py.
Pure arithmetic: no torch, no files, a tenth of a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from tuner_tui.hardware.environment import MALLOC_THRESHOLD_BYTES
from tuner_tui.planning.peaks import MISC_BYTES, Parts, Peak, parts_of, peaks_of
from tuner_tui.planning.ranges import driver_range
from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.states import is_paged
from tuner_tui.planning.tunings import memory_of
from tuner_tui.planning.workload import Workload

GB = 1_000_000_000


@dataclass(frozen=True)
class Term:
    """One term of the estimate."""

    name: str
    bytes: int
    words: str = ""
    """Its formula with this model's values."""


@dataclass(frozen=True)
class Estimate:
    """The estimated memory of a run. `allocated` is the peak that torch's allocator hands out."""

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
    shape: ModelShape = field(repr=False)
    load: Workload = field(repr=False)
    parts: Parts = field(repr=False)
    is_known: bool = True
    """False if the architecture's activations are a guess, so that the range is wide."""
    measured: int = 0
    """How many runs on this machine the range is based on."""

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """Terms that add up to `allocated`: memory between steps, and what the highest peak adds."""
        resident = _resident_terms(self.shape, self.load, self.parts)
        return (*resident, *_terms_of_peak(self.shape, self.load, self.parts, self.peak))

    @property
    def likely(self) -> int:
        """The middle of the range: the figure to show if only one is shown, and `has_figure`."""
        return (self.low + self.high) // 2

    @property
    def has_figure(self) -> bool:
        """Whether the range has a meaningful middle: for an unverified architecture only once it was measured."""
        return self.is_known or self.measured > 0

    def words(self, dash: str = " to ") -> str:
        """The expected memory in GB: a figure, or the range alone."""
        if self.has_figure:
            return f"{self.likely / GB:.1f}"
        return f"{self.low / GB:.1f}{dash}{self.high / GB:.1f}"

    @property
    def peak(self) -> Peak:
        """The highest peak."""
        return self.peaks[0]


def estimate_memory(shape: ModelShape, load: Workload, stored_bytes: int | None = None) -> Estimate:
    """Terms, peaks and range of one workload; `stored_bytes` is the size of weights used as they are stored."""
    if load.method_traits.head == "score":  # a scalar head instead of the output layer
        shape = replace(shape, weights=replace(shape.weights, head=0))
    parts = parts_of(shape, load, stored_bytes)
    peaks = peaks_of(shape, load, parts)
    allocated = peaks[0].bytes
    low, high = driver_range(shape, load, parts, peaks)
    resident = parts.resident(load) + parts.gradients
    return Estimate(
        peaks=peaks,
        allocated=allocated,
        low=low,
        high=high,
        weights=parts.weights,
        states=parts.adapters + parts.frozen + parts.gradients + parts.states,
        activations=max(0, allocated - resident),
        shape=shape,
        load=load,
        parts=parts,
        is_known=shape.is_known,
    )


def _resident_terms(shape: ModelShape, load: Workload, parts: Parts) -> list[Term]:
    """Memory in use between steps."""
    numbers, base = shape.weights, parts.base
    count = f"{parts.copies} x " if parts.copies > 1 else ""
    resident = (base.matrices + base.rest) * parts.copies
    terms = [Term("weights", resident, f"{count}{numbers.total:,} parameters as {load.loaded_as}")]
    if base.constants:
        words = f"scales of {numbers.linear:,} parameters"
        terms.append(Term("quantisation constants", base.constants * parts.copies, words))
    if parts.adapters:
        words = memory_of(load.tuning).words(shape, load, parts.adapters)
        terms.append(Term("adapters", parts.adapters, words))
    if parts.frozen:
        terms.append(Term("frozen adapter", parts.frozen, "a frozen copy, for the reference"))
    if parts.states:
        pages = is_paged(load.optimizer)
        where = ", in pages that may move to the host" if pages else ""
        terms.append(Term("optimizer states", 0 if pages else parts.states, load.optimizer + where))
    return terms


def _terms_of_peak(shape: ModelShape, load: Workload, parts: Parts, peak: Peak) -> list[Term]:
    """The terms that the highest peak adds to the memory in use between steps."""
    resident = parts.resident(load)
    left = peak.bytes - resident - MISC_BYTES
    terms = []
    if load.accumulates or peak.name in ("optimizer step", "last layer backward", "embedding backward"):
        terms.append(Term("gradients", min(parts.gradients, left)))
        left -= terms[-1].bytes
    if peak.name in ("loss", "first layer backward", "reference"):
        name = "saved activations" if load.checkpointing == "off" else "checkpoint boundaries"
        per_token = parts.layer.saved if load.checkpointing == "off" else parts.layer.boundary
        layers = f" x {shape.layers} layers" if load.checkpointing != "offloaded" else ""
        words = f"{load.tokens:,} tokens x {per_token:,} bytes{layers}"
        terms.append(Term(name, min(parts.activations, left), words))
        left -= terms[-1].bytes
    if parts.holes and peak.name not in ("optimizer step", "last layer backward", "embedding backward"):
        words = f"malloc fragmentation between blocks under {MALLOC_THRESHOLD_BYTES >> 20} MiB"
        terms.append(Term("freed, not returned", min(parts.holes, left), words))
        left -= terms[-1].bytes
    if left > 0:
        again = "recomputed" if load.checkpointing != "off" else "backward"
        named = {
            "loss": "loss head",
            "first layer backward": f"one layer, {again}",
            "last layer backward": f"one layer, {again}",
            "optimizer step": "optimizer-step copy",
            "embedding backward": "embedding gradient",
            "reference": "reference pass",
            "generating answers": "keys and values",
        }
        terms.append(Term(named[peak.name], left, parts.head.words if peak.name == "loss" else ""))
    return [*terms, Term("workspaces", MISC_BYTES)]

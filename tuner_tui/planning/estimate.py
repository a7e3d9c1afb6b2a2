"""The memory of a training run: every term by name, the peaks of a step, and what the driver will show.

Sources: the libraries' own code (each module's text says which) and the published measurements that
tests/benchmarks/memory.py judges it by. Pure arithmetic: no torch, no files, a tenth of a millisecond.
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


@dataclass(frozen=True)
class Term:
    """One part of the memory."""

    name: str
    bytes: int
    words: str = ""
    """Its formula with this model's values."""


@dataclass(frozen=True)
class Estimate:
    """How much memory a run takes. `allocated` is what torch's allocator hands out at most."""

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
    """False where the architecture's activations are a guess, so that the range is wide."""
    measured: int = 0
    """How many runs on this machine stand behind the range."""

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """They add up to `allocated`: what is in use between steps, and what the highest peak adds."""
        resident = _resident_terms(self.shape, self.load, self.parts)
        return (*resident, *_terms_of_peak(self.shape, self.load, self.parts, self.peak))

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
    if load.method_traits.head == "score":  # a score in place of the output layer
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
    """What the highest peak adds; with what is in use between steps it makes up what is allocated."""
    resident = parts.resident(load)
    left = peak.bytes - resident - MISC_BYTES
    terms = []
    if load.accumulates or peak.name in ("optimizer step", "last layer backward", "embedding backward"):
        terms.append(Term("gradients", min(parts.gradients, left)))
        left -= terms[-1].bytes
    if peak.name in ("loss", "first layer backward", "reference"):
        name = "saved activations" if load.checkpointing == "off" else "checkpoint boundaries"
        each = parts.layer.saved if load.checkpointing == "off" else parts.layer.boundary
        layers = f" x {shape.layers} layers" if load.checkpointing != "offloaded" else ""
        words = f"{load.tokens:,} tokens x {each:,} bytes{layers}"
        terms.append(Term(name, min(parts.kept, left), words))
        left -= terms[-1].bytes
    if parts.holes and peak.name not in ("optimizer step", "last layer backward", "embedding backward"):
        words = f"malloc fragmentation between blocks under {MALLOC_THRESHOLD_BYTES >> 20} MiB"
        terms.append(Term("freed, not given back", min(parts.holes, left), words))
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
            "writing answers": "keys and values",
        }
        terms.append(Term(named[peak.name], left, parts.head.words if peak.name == "loss" else ""))
    return [*terms, Term("workspaces", MISC_BYTES)]

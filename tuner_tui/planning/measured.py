"""What runs on this machine really took, and what that says of the next one: a truer estimate, and its time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.planning.workload import Workload

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.estimate import Estimate
    from tuner_tui.planning.place import Rows

LEAST_MARGIN = 0.02
"""How far a calibrated figure may always be off, either way."""
FREE_MARGIN = 0.10
"""The same for one that was measured in another precision or tuning."""
LARGEST_CORRECTION = 1.5
"""A ratio beyond this is no correction but another thing, and is left out."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The memory and speed of one run or probe."""

    at: float
    """Unix time."""
    device_name: str
    driver: str | None = None
    versions: dict[str, str]
    """Of torch, transformers, TRL and PEFT."""
    is_gpu: bool
    model_name: str
    method: str
    tuning: str
    held: str
    is_checkpointing: bool
    micro_batch: int
    length: int
    """Tokens of the longest row."""
    predicted_bytes: int
    """What the estimate said would be allocated, for these very rows."""
    allocated_bytes: int
    """Torch's peak on a GPU; growth of the process's resident memory on a CPU."""
    reserved_bytes: int | None = None
    context_bytes: int | None = None
    """On a GPU what the driver shows beyond torch's reserve; on a CPU the process before the model."""
    steps: int
    seconds_per_step: float | None = None
    tokens_per_second: float | None = None
    watts: float | None = None
    """Mean power of card and processor, as far as their counters tell."""

    @property
    def ratio(self) -> float:
        """Measured against predicted."""
        return self.allocated_bytes / max(self.predicted_bytes, 1)


def matching(
    measured: Sequence[Measured], device: str | None, versions: dict[str, str]
) -> tuple[Measured, ...]:
    """Those of the same card (None: of this CPU) and the same library versions, the newest first."""
    found = [
        each
        for each in measured
        if (each.device_name == device if device is not None else not each.is_gpu)
        and all(versions.get(name, version) == version for name, version in each.versions.items())
    ]
    return tuple(sorted(found, key=lambda each: -each.at))


def calibrate(estimate: Estimate, load: Workload, measured: Sequence[Measured]) -> Estimate:
    """The estimate with context, reserve and correction learnt from measurements of this device and these versions.

    Measurements of the same method, tuning and precision correct it; others only tell context and reserve. Without any
    it comes back as it was.
    """
    sound = [each for each in measured if 1 / LARGEST_CORRECTION < each.ratio < LARGEST_CORRECTION]
    if not sound:
        return estimate
    alike = [
        each
        for each in sound
        if (each.method, each.tuning, each.held) == (load.method, load.tuning, load.held)
    ]
    ratios = [each.ratio for each in alike]
    correction = statistics.median(ratios) if ratios else 1.0
    margin = (
        max([LEAST_MARGIN, *(abs(ratio / correction - 1) for ratio in ratios)]) if ratios else FREE_MARGIN
    )
    contexts = [each.context_bytes for each in sound if each.context_bytes is not None]
    reserves = [each.reserved_bytes / max(each.allocated_bytes, 1) for each in sound if each.reserved_bytes]
    allocated = round(estimate.allocated * correction)
    low = round(allocated * (1 - margin))
    high = round(allocated * (1 + margin) * max([1.0, *reserves]))
    if not contexts or (load.is_gpu and not reserves):
        return replace(estimate, measured=len(alike or sound))
    low, high = low + min(contexts), high + max(contexts)
    if not alike:  # context and reserve alone may narrow the range, never widen it
        low, high = max(low, estimate.low), min(high, estimate.high)
    return replace(estimate, low=min(low, high), high=high, measured=len(alike or sound))


def origin_words(estimate: Estimate) -> str:
    """Where the range came from."""
    if not estimate.measured:
        return "by formula; not measured here yet"
    times = "once" if estimate.measured == 1 else f"{estimate.measured} times"
    return f"measured here {times}"


def alike_runs(load: Workload, measured: Sequence[Measured], model_name: str) -> list[Measured]:
    """Those of the same model, method, tuning and precision, whose speed and power a run will have too."""
    asked = (model_name, load.method, load.tuning, load.held)
    return [each for each in measured if (each.model_name, each.method, each.tuning, each.held) == asked]


def run_seconds(
    spec: RunSpec, load: Workload, rows: Rows, measured: Sequence[Measured], model_name: str
) -> float | None:
    """How long the run's steps would take, from the speed of earlier ones of this model here; None before any."""
    alike = alike_runs(load, measured, model_name)
    speeds = [each.tokens_per_second for each in alike if each.tokens_per_second]
    if not speeds or rows.mean is None or not rows.count:
        return None
    training = spec.training
    steps = training.epochs * rows.count / training.batch_size
    if training.max_steps is not None:
        steps = min(steps, training.max_steps)
    tokens = steps * training.batch_size * min(rows.mean, training.max_length) * load.sequences / load.rows
    return tokens / statistics.median(speeds)

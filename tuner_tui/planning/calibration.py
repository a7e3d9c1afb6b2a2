"""Calibrates estimates of memory and time with measurements of earlier runs on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING

from tuner_tui.planning.estimate import Estimate, estimate_memory
from tuner_tui.planning.workload import Workload

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.planning.measurement import Measured
    from tuner_tui.planning.place import Place, Rows
    from tuner_tui.planning.shape import ModelShape

LEAST_MARGIN = 0.02
"""Relative error allowed for any calibrated figure, in both directions."""
FREE_MARGIN = 0.10
"""The same for one measured with another precision or tuning, or on another model."""
LARGEST_CORRECTION = 1.5
"""Measurements with a larger ratio are ignored, since something else was measured."""
ENOUGH = 3
"""This many measurements of other models count as much as one of the same model."""


@lru_cache(maxsize=64)
def names_of(source: str) -> frozenset[str]:
    """The names under which measurements of a spec's model.source are stored."""
    from tuner_tui.models.demo import DEMO_FILE, DEMO_REPO

    more = {DEMO_FILE, DEMO_REPO} if source == "demo" else {PurePath(source).name}
    return frozenset({source} | more)


def estimate_here(
    shape: ModelShape, load: Workload, facts: ModelFacts, spec: RunSpec, place: Place
) -> Estimate:
    """The estimate of a step at a place, calibrated with measurements there."""
    estimate = estimate_memory(shape, load, facts.weight_bytes)
    return (
        calibrate(estimate, load, place.measured, names_of(spec.model.source)) if place.measured else estimate
    )


def calibrate(
    estimate: Estimate, load: Workload, measured: Sequence[Measured], names: Collection[str] = ()
) -> Estimate:
    """The estimate with context, reserve and correction fitted to measurements of this device and these versions.

    Measurements of the same method, tuning and precision correct it: closely if they are of the same model (`names`)
    or if there are several, else with a wide margin. Others only give context and reserve, and may narrow the range,
    never widen it. Without measurements it is unchanged, as is that of an unknown architecture without its own ones.
    """
    sound = [run for run in measured if 1 / LARGEST_CORRECTION < run.ratio < LARGEST_CORRECTION]
    kind = (load.method, load.tuning, load.loaded_as)
    alike = [run for run in sound if (run.method, run.tuning, run.loaded_as) == kind]
    same = [run for run in alike if run.model_name in names]
    alike = same or alike
    if not sound or not (estimate.is_known or same):
        return estimate
    ratios = [run.ratio for run in alike] or [1.0]
    correction = statistics.median(ratios)
    least = LEAST_MARGIN if same or len(alike) >= ENOUGH else FREE_MARGIN
    margin = max([least, *(abs(ratio / correction - 1) for ratio in ratios)])
    allocated = round(estimate.allocated * correction)
    beyond = _beyond(sound, load)
    if beyond is None:
        if not alike:
            return estimate
        low = round(allocated * (1 - margin)) + estimate.low - estimate.allocated
        high = round(allocated * (1 + margin)) + estimate.high - estimate.allocated
    else:
        reserve, least_context, most_context = beyond
        low = round(allocated * (1 - margin)) + least_context
        high = round(allocated * (1 + margin) * reserve) + most_context
    if not alike:
        low, high = max(low, estimate.low), min(high, estimate.high)
        if (low, high) == (estimate.low, estimate.high) or low > high:
            return estimate
    return replace(estimate, low=min(low, high), high=high, measured=len(alike or sound))


def _beyond(sound: Sequence[Measured], load: Workload) -> tuple[float, int, int] | None:
    """(reserve against allocated at most, least and most context in bytes); None if neither was ever read."""
    contexts = [run.context_bytes for run in sound if run.context_bytes is not None]
    reserves = [run.reserved_bytes / max(run.allocated_bytes, 1) for run in sound if run.reserved_bytes]
    if not contexts or (load.is_gpu and not reserves):
        return None
    return max([1.0, *reserves]), min(contexts), max(contexts)


def origin_words(estimate: Estimate) -> str:
    """The origin of the range."""
    if not estimate.measured:
        return "by formula; not measured on this machine yet"
    times = "once" if estimate.measured == 1 else f"{estimate.measured} times"
    return f"measured here {times}"


def alike_runs(load: Workload, measured: Sequence[Measured], model_name: str) -> list[Measured]:
    """Measurements of the same model, method, tuning and precision, which predict a run's speed and power."""
    wanted = (model_name, load.method, load.tuning, load.loaded_as)
    return [run for run in measured if (run.model_name, run.method, run.tuning, run.loaded_as) == wanted]


def run_seconds(
    spec: RunSpec, load: Workload, rows: Rows, measured: Sequence[Measured], model_name: str
) -> float | None:
    """The time of the run's steps, from the speed of earlier runs of this model here; None if there are none."""
    alike = alike_runs(load, measured, model_name)
    speeds = [run.tokens_per_second for run in alike if run.tokens_per_second]
    count, most = rows.count or rows.first, spec.training.max_steps
    if not speeds or rows.mean is None or not count:
        return None
    training = spec.training
    steps = training.epochs * count / training.batch_size
    if rows.count is None and (most is None or most > steps):
        return None  # more rows than were read
    steps = min(steps, most) if most is not None else steps
    tokens = steps * training.batch_size * min(rows.mean, training.max_length) * load.sequences / load.rows
    return tokens / statistics.median(speeds)

"""Which points of a run's curves a chart draws: at most two per column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.runs.events import Evaluated
    from tuner_tui.runs.history import Curves

Axis = Literal["steps", "tokens", "time"]
Zoom = Literal["whole run", "last half", "last tenth"]
AXES: tuple[Axis, ...] = ("steps", "tokens", "time")
ZOOMS: tuple[Zoom, ...] = ("whole run", "last half", "last tenth")
SHARES: dict[Zoom, float] = {"whole run": 1.0, "last half": 0.5, "last tenth": 0.1}

LOSS = "loss"
"""The measure that has evaluations beside it."""
CURVE_NAMES = {
    LOSS: "loss",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
    "tokens_per_second": "tokens/s",
}
"""The measures of each run by their names in its curves, and how they are titled."""
SMOOTHED = (LOSS, "grad_norm", "tokens_per_second")
"""Measures with noise; others are drawn as they are."""

Points = tuple[tuple[float, ...], tuple[float, ...]]
"""Where along the axis, and how high."""


@dataclass(frozen=True)
class ChartPoints:
    """The points to draw."""

    raw: Points = ((), ())
    smooth: Points = ((), ())
    evaluations: Points = ((), ())
    gaps: int = 0
    """Visible buckets without a finite value."""

    @property
    def is_empty(self) -> bool:
        return not (self.raw[0] or self.evaluations[0])

    @property
    def x_range(self) -> tuple[float, float]:
        xs = self.raw[0] + self.smooth[0] + self.evaluations[0]
        return min(xs), max(xs)

    @property
    def y_range(self) -> tuple[float, float]:
        ys = self.raw[1] + self.smooth[1] + self.evaluations[1]
        return min(ys), max(ys)


def chart_points(
    curves: Curves,
    evaluations: Sequence[Evaluated],
    axis: Axis,
    zoom: Zoom,
    columns: int,
    measure: str = LOSS,
) -> ChartPoints:
    """A measure raw and smoothed, and the held-out loss beside the loss, thinned for a number of columns."""
    xs = along(curves, axis)
    if not xs:
        return ChartPoints()
    start = xs[-1] - SHARES[zoom] * (xs[-1] - xs[0])
    first = next(index for index, x in enumerate(xs) if x >= start)
    curve = curves.measures.get(measure)
    means = curve.mean if curve else (None,) * len(xs)
    smoothed = _smoothed(means) if measure not in CURVE_NAMES or measure in SMOOTHED else [None] * len(means)
    seen = [(x, y) for x, y in zip(xs[first:], means[first:], strict=True) if y is not None]
    smooth = [(x, y) for x, y in zip(xs[first:], smoothed[first:], strict=True) if y is not None]
    held_out = [
        (place, evaluation.loss)
        for evaluation in (evaluations if measure == LOSS else ())
        if evaluation.loss is not None and (place := _place(curves, xs, evaluation.step)) >= start
    ]
    return ChartPoints(
        raw=_extremes(seen, columns),
        smooth=_latest(smooth, columns),
        evaluations=_latest(held_out, columns),
        gaps=sum(mean is None for mean in means[first:]),
    )


def measures_of(curves: Curves) -> tuple[str, ...]:
    """The measures that a run has values of: its loss first, then those of every run, then its method's."""
    known = [
        name for name, curve in curves.measures.items() if any(value is not None for value in curve.mean)
    ]
    ordered = [name for name in CURVE_NAMES if name in known or name == LOSS]
    return (*ordered, *(name for name in known if name not in CURVE_NAMES))


def title_of(measure: str) -> str:
    """A measure's title; one of a method that is not known has its own name."""
    from tuner_tui.runs.metric_words import WORDS

    if measure in CURVE_NAMES:
        return CURVE_NAMES[measure]
    return WORDS[measure].title if measure in WORDS else measure


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers within a range, at most `count`."""
    if not high > low or count < 1:
        return [low]
    step = 10.0 ** _order((high - low) / count)
    while (high - low) / step > count:
        step *= 2 if f"{step:e}"[0] != "2" else 2.5
    first = -(-low // step) * step
    ticks = [round(first + index * step, 12) for index in range(count + 1)]
    return [tick for tick in ticks if tick <= high * (1 + 1e-9)]


def _order(value: float) -> int:
    import math

    return math.floor(math.log10(value))


def along(curves: Curves, axis: Axis) -> tuple[float, ...]:
    """Where each bucket ends on an axis."""
    match axis:
        case "tokens":
            return curves.tokens
        case "time":
            return curves.seconds
    return curves.steps


def _place(curves: Curves, xs: Sequence[float], step: int) -> float:
    """Where a step lies along the axis."""
    from bisect import bisect_left

    return xs[min(bisect_left(curves.steps, step), len(xs) - 1)]


def _smoothed(values: Sequence[float | None]) -> list[float | None]:
    """An exponential moving average with bias correction."""
    keep = 1 - 2 / (max(4, len(values) / 12) + 1)
    total = weight = 0.0
    smooth: list[float | None] = []
    for value in values:
        if value is None:
            smooth.append(None)
            continue
        total = keep * total + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        smooth.append(total / weight)
    return smooth


def _extremes(points: list[tuple[float, float]], columns: int) -> Points:
    """All points if they are few, else the minimum and maximum of each column."""
    if len(points) <= 2 * columns:
        return _split(points)
    chosen: list[tuple[float, float]] = []
    for column in _in_columns(points, columns):
        chosen += sorted({min(column, key=lambda point: point[1]), max(column, key=lambda point: point[1])})
    return _split(chosen)


def _latest(points: list[tuple[float, float]], columns: int) -> Points:
    """The last point of each column."""
    if len(points) <= columns:
        return _split(points)
    return _split([column[-1] for column in _in_columns(points, columns)])


def _in_columns(points: list[tuple[float, float]], columns: int) -> list[list[tuple[float, float]]]:
    low, high = points[0][0], points[-1][0]
    scale = columns / (high - low) if high > low else 0.0
    cells: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        cells.setdefault(min(columns - 1, int((point[0] - low) * scale)), []).append(point)
    return list(cells.values())


def _split(points: list[tuple[float, float]]) -> Points:
    return tuple(point[0] for point in points), tuple(point[1] for point in points)

"""A run's curves in bounded memory: points are aggregated into buckets of min, mean and max, which merge in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

MAX_BUCKETS = 2000

T = TypeVar("T")


class Curve(msgspec.Struct, frozen=True):
    """One metric over the run, a value per bucket; None where no point was finite."""

    minimum: tuple[float | None, ...]
    mean: tuple[float | None, ...]
    maximum: tuple[float | None, ...]


class Curves(msgspec.Struct, frozen=True):
    """A frozen copy for screens: where each bucket ends, and every metric's curve."""

    steps: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    measures: dict[str, Curve] = {}


class _Measure:
    """Columns of one metric: smallest, sum, largest and number of finite points of each bucket."""

    __slots__ = ("count", "high", "low", "total")

    def __init__(self, buckets: int) -> None:
        self.low: list[float | None] = [None] * buckets
        self.high: list[float | None] = [None] * buckets
        self.total: list[float] = [0.0] * buckets
        self.count: list[int] = [0] * buckets

    def open(self) -> None:
        self.low.append(None)
        self.high.append(None)
        self.total.append(0.0)
        self.count.append(0)

    def add(self, values: list[float]) -> None:
        low, high = self.low[-1], self.high[-1]
        smallest, largest = min(values), max(values)
        self.low[-1] = smallest if low is None or smallest < low else low
        self.high[-1] = largest if high is None or largest > high else high
        self.total[-1] += sum(values)
        self.count[-1] += len(values)

    def merge_pairs(self) -> None:
        self.low = [_least(pair) for pair in _pairs(self.low)]
        self.high = [_most(pair) for pair in _pairs(self.high)]
        self.total = [sum(pair) for pair in _pairs(self.total)]
        self.count = [sum(pair) for pair in _pairs(self.count)]

    def truncate(self, buckets: int) -> None:
        for column in (self.low, self.high, self.total, self.count):
            del column[buckets:]

    def curve(self) -> Curve:
        means = tuple(
            total / count if count else None for total, count in zip(self.total, self.count, strict=True)
        )
        return Curve(tuple(self.low), means, tuple(self.high))


class History:
    """Grows by one or many points; never has more than MAX_BUCKETS buckets per metric."""

    def __init__(self) -> None:
        self._width = 1  # points in a full bucket
        self._fill = 0  # points in the last bucket
        self._first_steps: list[int] = []
        self._steps: list[int] = []
        self._tokens: list[int] = []
        self._seconds: list[float] = []
        self._measures: dict[str, _Measure] = {}

    def extend(
        self,
        steps: Sequence[int],
        tokens: Sequence[int],
        seconds: Sequence[float],
        measures: dict[str, Sequence[float | None]],
    ) -> None:
        """Add points; all sequences have the same length, tokens and seconds of activity count from the run's start."""
        for name in measures:
            if name not in self._measures:
                self._measures[name] = _Measure(len(self._steps))
        start = 0
        while start < len(steps):
            if self._fill == self._width or not self._steps:
                self._open(steps[start])
            end = min(start + self._width - self._fill, len(steps))
            for name, values in measures.items():
                finite = [value for value in values[start:end] if value is not None]
                if finite:
                    self._measures[name].add(finite)
            self._steps[-1], self._tokens[-1], self._seconds[-1] = (
                steps[end - 1],
                tokens[end - 1],
                seconds[end - 1],
            )
            self._fill += end - start
            start = end

    def rewind(self, step: int) -> None:
        """Remove everything after a step, because the run resumes from there.

        A bucket that spans the step stays and is truncated there; its single points are no longer known.
        """
        keep = sum(first <= step for first in self._first_steps)
        for column in (self._first_steps, self._steps, self._tokens, self._seconds):
            del column[keep:]
        for measure in self._measures.values():
            measure.truncate(keep)
        self._fill = self._width if keep else 0
        if keep and self._steps[-1] > step:
            before = self._tokens[-2] if keep > 1 else 0
            first, last = self._first_steps[-1], self._steps[-1]
            kept_share = (step - first + 1) / (last - first + 1)
            self._tokens[-1] = before + round((self._tokens[-1] - before) * kept_share)
            self._steps[-1] = step

    @property
    def last_tokens(self) -> int:
        """Tokens seen up to the last point."""
        return self._tokens[-1] if self._tokens else 0

    def curves(self) -> Curves:
        """A frozen copy."""
        return Curves(
            tuple(self._steps),
            tuple(self._tokens),
            tuple(self._seconds),
            {name: measure.curve() for name, measure in self._measures.items()},
        )

    def _open(self, step: int) -> None:
        if len(self._steps) == MAX_BUCKETS:
            self._first_steps = self._first_steps[::2]
            self._steps, self._tokens, self._seconds = (
                self._steps[1::2],
                self._tokens[1::2],
                self._seconds[1::2],
            )
            for measure in self._measures.values():
                measure.merge_pairs()
            self._width *= 2
        self._first_steps.append(step)
        self._steps.append(step)
        self._tokens.append(0)
        self._seconds.append(0.0)
        for measure in self._measures.values():
            measure.open()
        self._fill = 0


def _pairs(column: list[T]) -> zip[tuple[T, T]]:
    return zip(column[::2], column[1::2], strict=True)


def _least(pair: tuple[float | None, float | None]) -> float | None:
    return min((value for value in pair if value is not None), default=None)


def _most(pair: tuple[float | None, float | None]) -> float | None:
    return max((value for value in pair if value is not None), default=None)

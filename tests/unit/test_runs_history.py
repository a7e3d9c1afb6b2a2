"""Curves in bounded memory, compared with all points kept."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tuner_tui.runs.history import MAX_BUCKETS, Curves, History


@dataclass
class Points:
    """All points of a run, kept one by one."""

    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)

    def stretch(self, start: int, end: int) -> tuple[list[int], list[int], list[float], list[float | None]]:
        return self.steps[start:end], self.tokens[start:end], self.seconds[start:end], self.loss[start:end]


def make_points(count: int, seed: int, gaps: float = 0.05) -> Points:
    """Random points whose sums are exact in floating point, so that means can be compared exactly."""
    chance = random.Random(seed)
    points = Points()
    for number in range(1, count + 1):
        points.steps.append(number)
        points.tokens.append(number * 100)
        points.seconds.append(number / 4)
        points.loss.append(None if chance.random() < gaps else chance.randrange(4096) / 256)
    return points


def extend(history: History, points: Points, start: int, end: int) -> None:
    steps, tokens, seconds, loss = points.stretch(start, end)
    history.extend(steps, tokens, seconds, {"loss": loss})


def check(curves: Curves, points: Points) -> None:
    """Every bucket says of its points what is true of them."""
    assert len(curves.steps) <= MAX_BUCKETS
    curve = curves.measures["loss"]
    assert len(curves.steps) == len(curves.tokens) == len(curves.seconds) == len(curve.mean)
    start = 0
    for bucket, last in enumerate(curves.steps):
        values = [value for value in points.loss[start:last] if value is not None]
        assert curves.tokens[bucket] == points.tokens[last - 1]
        assert curves.seconds[bucket] == points.seconds[last - 1]
        assert curve.minimum[bucket] == (min(values) if values else None)
        assert curve.maximum[bucket] == (max(values) if values else None)
        assert curve.mean[bucket] == (sum(values) / len(values) if values else None)
        start = last
    assert start == len(points.steps)


@pytest.mark.parametrize("count", [1, 1999, 2000, 2001, 4000, 4001, 12_345])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_stretches_give_what_brute_force_gives(count: int, seed: int) -> None:
    chance, points, history = random.Random(seed), make_points(count, seed), History()
    start = 0
    while start < count:
        end = min(count, start + chance.choice((1, 1, 3, 50, 700, 3000)))
        extend(history, points, start, end)
        assert len(history.curves().steps) <= MAX_BUCKETS
        start = end
    check(history.curves(), points)
    assert history.last_tokens == points.tokens[-1]


def test_at_once_and_point_by_point_are_the_same() -> None:
    points, at_once, one_by_one = make_points(9001, 3), History(), History()
    extend(at_once, points, 0, 9001)
    for number in range(9001):
        extend(one_by_one, points, number, number + 1)
    assert at_once.curves() == one_by_one.curves()


def test_buckets_stay_at_least_half_of_what_is_allowed() -> None:
    points, history = make_points(50_000, 4), History()
    extend(history, points, 0, 50_000)
    assert MAX_BUCKETS / 2 <= len(history.curves().steps) <= MAX_BUCKETS


def test_a_stretch_without_a_finite_point_has_no_value() -> None:
    points, history = make_points(5000, 5, gaps=1.0), History()
    extend(history, points, 0, 5000)
    check(history.curves(), points)
    assert set(history.curves().measures["loss"].mean) == {None}


def test_a_measure_may_begin_late_and_pause() -> None:
    history = History()
    history.extend([1, 2], [1, 2], [1, 2], {"loss": [1.0, 2.0]})
    history.extend([3], [3], [3], {"loss": [3.0], "margin": [0.5]})
    history.extend([4], [4], [4], {"loss": [4.0]})
    curves = history.curves()
    assert curves.measures["loss"].mean == (1.0, 2.0, 3.0, 4.0)
    assert curves.measures["margin"].mean == (None, None, 0.5, None)


def test_a_frozen_copy_does_not_move() -> None:
    points, history = make_points(10, 6), History()
    extend(history, points, 0, 5)
    before = history.curves()
    extend(history, points, 5, 10)
    assert len(before.steps) == 5
    assert len(history.curves().steps) == 10


@pytest.mark.parametrize("back_to", [0, 1, 700, 1500])
def test_rewound_and_gone_on_a_short_run_looks_as_if_never_interrupted(back_to: int) -> None:
    points, history = make_points(1500, 7), History()
    extend(history, points, 0, 1500)
    history.rewind(back_to)
    assert history.last_tokens == back_to * 100
    assert history.curves().steps == tuple(range(1, back_to + 1))
    extend(history, points, back_to, 1500)
    check(history.curves(), points)


@pytest.mark.parametrize("back_to", [0, 1, 7000, 7004, 7777, 9999])
def test_a_long_run_is_rewound_to_the_step_and_stays_in_order(back_to: int) -> None:
    points, history = make_points(10_000, 8), History()
    extend(history, points, 0, 10_000)
    history.rewind(back_to)
    curves = history.curves()
    assert (curves.steps[-1] if curves.steps else 0) == back_to
    assert history.last_tokens == back_to * 100
    extend(history, points, back_to, 10_000)
    after = history.curves()
    assert list(after.steps) == sorted(set(after.steps))
    assert list(after.tokens) == sorted(set(after.tokens))
    assert after.steps[-1] == 10_000
    assert len(after.steps) <= MAX_BUCKETS

"""A step's wall time divided among its parts, by hand computations."""

from __future__ import annotations

import random

import pytest

from tuner_tui.profiling.timeline import Division, Interval, Kernel, Span, Threads, divide, flatten

MAIN, LEFT, RIGHT = 1, 2, 3


def division(
    spans: list[Span], end: float, busy: list[Interval] | None = None, kernels: list[Kernel] | None = None
) -> Division:
    return divide([Interval(0.0, end)], Threads(spans, MAIN), busy or [], kernels)


def test_the_innermost_span_counts() -> None:
    spans = [Span(MAIN, "head", 0, 10), Span(MAIN, "forward", 2, 6), Span(MAIN, "backward", 10, 14)]
    assert flatten(spans) == [
        Span(MAIN, "head", 0, 2), Span(MAIN, "forward", 2, 6), Span(MAIN, "head", 6, 10),
        Span(MAIN, "backward", 10, 14),
    ]  # fmt: skip


def test_one_thread_with_gaps() -> None:
    spans = [Span(MAIN, "data", 1, 3), Span(MAIN, "head", 3, 9), Span(MAIN, "forward", 3, 8)]
    divided = division(spans, 12)
    assert divided.wall == {"waiting": 1 + 3, "data": 2, "forward": 5, "head": 1}
    assert divided.threads == {"data": 2, "forward": 5, "head": 1}


def test_only_what_is_within_the_steps_counts() -> None:
    spans = [Span(MAIN, "data", 0, 4), Span(MAIN, "forward", 4, 20)]
    divided = divide([Interval(2, 6), Interval(10, 15)], Threads(spans, MAIN))
    assert divided.wall == {"data": 2, "forward": 2 + 5}


def test_threads_side_by_side_share_each_moment() -> None:
    """Two threads compute from 2 to 6 and one of them on to 10, while the main thread waits for both."""
    spans = [
        Span(MAIN, "data", 0, 2),
        Span(LEFT, "forward", 2, 4), Span(LEFT, "backward", 4, 6),
        Span(RIGHT, "forward", 2, 6), Span(RIGHT, "backward", 6, 10),
    ]  # fmt: skip
    divided = division(spans, 12)
    assert divided.wall == {"data": 2, "forward": 2 + 1, "backward": 1 + 4, "waiting": 2}
    assert divided.threads == {"data": 2, "forward": 2 + 4, "backward": 2 + 4}


def test_a_main_thread_that_waits_within_a_part_leaves_the_time_to_the_others() -> None:
    spans = [Span(MAIN, "head", 0, 10), Span(LEFT, "forward", 1, 9)]
    divided = division(spans, 10)
    assert divided.wall == {"head": 2, "forward": 8} and divided.threads == {"head": 2, "forward": 8}
    computing = division(spans, 10, busy=[Interval(5, 9)])
    assert computing.wall == {"head": 2 + 2, "forward": 4 + 2}
    assert computing.threads == {"head": 2 + 4, "forward": 8}


def test_a_side_threads_head_is_between_its_passes() -> None:
    spans = [Span(LEFT, "forward", 0, 4), Span(LEFT, "backward", 5, 9), Span(LEFT, "forward", 9, 12)]
    assert division(spans, 12).wall == {"forward": 4 + 3, "head": 1, "backward": 4}


def test_on_a_gpu_its_kernels_count() -> None:
    """The forward pass is launched from 1 to 3 and runs from 2 to 7; then the GPU is idle while rows are read."""
    spans = [Span(MAIN, "forward", 1, 3), Span(MAIN, "callbacks", 3, 8), Span(MAIN, "data", 9, 11)]
    kernels = [Kernel("forward", 2, 5), Kernel("forward", 4, 7), Kernel("backward", 6, 7)]
    divided = division(spans, 12, kernels=kernels)
    assert divided.wall == {
        "waiting": 1 + 1 + 1 + 1,  # 0 to 1, 1 to 2 (commands are launched), 8 to 9, 11 to 12
        "forward": 4 + 0.5, "backward": 0.5,
        "callbacks": 1, "data": 2,
    }  # fmt: skip
    assert sum(divided.wall.values()) == 12


def test_parts_always_add_up_to_the_steps() -> None:
    chosen = random.Random(7)
    for _ in range(50):
        spans = []
        for thread in (MAIN, LEFT, RIGHT):
            moment = 0.0
            while moment < 90:
                start = moment + chosen.random() * 3
                end = start + chosen.random() * 20
                spans.append(Span(thread, chosen.choice(["data", "head", "backward"]), start, end))
                spans.append(Span(thread, "forward", start + (end - start) / 4, start + (end - start) / 2))
                moment = end
        busy = [Interval(start, start + 2.0) for start in range(0, 90, 7)]
        assert sum(division(spans, 100, busy).wall.values()) == pytest.approx(100)


def test_the_part_at_a_moment() -> None:
    threads = Threads(
        [Span(MAIN, "head", 0, 10), Span(MAIN, "forward", 2, 6), Span(LEFT, "data", 0, 1)], MAIN
    )
    assert [threads.part_at(MAIN, moment) for moment in (0, 2, 5.9, 6, 10)] == [
        "head", "forward", "forward", "head", None,
    ]  # fmt: skip
    assert threads.part_at(LEFT, 5) is None
    assert threads.part_at(99, 5) == "forward", "a thread without parts of its own works for the main thread"

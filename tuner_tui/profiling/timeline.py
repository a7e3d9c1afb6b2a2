"""Divides a step's wall time among its parts, from the ranges that several threads and a GPU recorded.

Times are in one unit throughout, whatever it is; the worker passes the microseconds of torch.profiler.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WAITING = "waiting"
"""The part of moments in which nothing of a step was computed."""
FORWARD, HEAD, BACKWARD = "forward", "head", "backward"
SEEN_BY_CPU = ("data", "callbacks")
"""Parts that keep a GPU waiting by themselves; in any other part, an idle GPU waits for its commands."""


class Span(NamedTuple):
    """A part of a step, from start to end, in one thread; spans of a thread are nested or apart."""

    thread: int
    part: str
    start: float
    end: float


class Interval(NamedTuple):
    """From start to end."""

    start: float
    end: float


class Kernel(NamedTuple):
    """A computation or copy on the GPU, and the part that launched it."""

    part: str
    start: float
    end: float


@dataclass
class Division:
    """One or several steps' time by part."""

    wall: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Adds up to the steps' wall time."""
    threads: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Time of every thread that computed, summed; more than `wall` where threads computed side by side."""


class Threads:
    """The spans of each thread, without overlap: at each moment the innermost one counts."""

    def __init__(self, spans: Iterable[Span], main: int) -> None:
        by_thread: defaultdict[int, list[Span]] = defaultdict(list)
        for span in spans:
            by_thread[span.thread].append(span)
        self.main = main
        self.flat = {
            thread: flatten(_with_heads(own) if thread != main else own) for thread, own in by_thread.items()
        }
        self._starts = {thread: [span.start for span in own] for thread, own in self.flat.items()}

    def part_at(self, thread: int, moment: float) -> str | None:
        """The part under way in a thread, or in the main thread if that one has no spans of its own."""
        thread = thread if thread in self.flat else self.main
        place = bisect_right(self._starts.get(thread, []), moment) - 1
        if place < 0:
            return None
        span = self.flat[thread][place]
        return span.part if moment < span.end else None


def flatten(spans: Sequence[Span]) -> list[Span]:
    """Nested spans of one thread as spans one after the other: the innermost counts."""
    flat: list[Span] = []
    stack: list[Span] = []
    reached = 0.0

    def advance(moment: float) -> None:
        nonlocal reached
        if stack and moment > reached:
            flat.append(stack[-1]._replace(start=reached, end=moment))
        reached = max(reached, moment)

    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        while stack and stack[-1].end <= span.start:
            advance(stack[-1].end)
            stack.pop()
        advance(span.start)
        reached = span.start
        stack.append(span)
    while stack:
        advance(stack[-1].end)
        stack.pop()
    return flat


def _with_heads(spans: Sequence[Span]) -> list[Span]:
    """A side thread's spans, and the loss head between forward and backward pass, where nobody marked it."""
    ordered = sorted(spans, key=lambda span: span.start)
    heads = []
    for before, after in pairwise(ordered):
        if (before.part, after.part) == (FORWARD, BACKWARD) and before.end < after.start:
            heads.append(Span(before.thread, HEAD, before.end, after.start))
    return [*ordered, *heads]


def divide(
    steps: Sequence[Interval],
    threads: Threads,
    busy: Sequence[Interval] = (),
    kernels: Sequence[Kernel] | None = None,
) -> Division:
    """The steps' time by part.

    On a CPU each moment belongs to the part of the main thread. Where other threads compute at that moment, it is
    shared equally by their parts, and by the main thread's if that one computes too, which `busy` says: the moments in
    which the main thread is within an operator. With `kernels` (a GPU) a moment belongs to the parts of the kernels
    that run; while none runs, to data or callbacks if the main thread is there, and to waiting otherwise.
    """
    changes: list[tuple[float, int, str, str]] = []
    for thread, spans in threads.flat.items():
        kind = "main" if thread == threads.main else "side"
        changes += _changes(kind, spans)
    changes += _changes("busy", [Span(threads.main, "", *interval) for interval in busy])
    changes += _changes("kernel", [Span(0, *kernel) for kernel in kernels or ()])
    changes += _changes("step", [Span(0, "", *interval) for interval in steps])
    changes.sort(key=lambda change: (change[0], change[1]))
    active: defaultdict[str, Counter[str]] = defaultdict(Counter)
    division = Division()
    before = 0.0
    for moment, by, kind, part in changes:
        if active["step"][""] and moment > before:
            _add(division, moment - before, active, on_gpu=kernels is not None)
        before = moment
        active[kind][part] += by
    return division


def _changes(kind: str, spans: Iterable[Span]) -> list[tuple[float, int, str, str]]:
    changes = []
    for _, part, start, end in spans:
        if end > start:
            changes += [(start, 1, kind, part), (end, -1, kind, part)]
    return changes


def _add(division: Division, time: float, active: dict[str, Counter[str]], *, on_gpu: bool) -> None:
    main = next(iter(+active["main"]), None)
    side = list((+active["side"]).elements())
    runners = side + ([main] if main is not None and (not side or active["busy"][""]) else [])
    for part in runners:
        division.threads[part] += time
    if on_gpu:
        runners = list((+active["kernel"]).elements())
        if not runners:
            runners = [main] if main in SEEN_BY_CPU else []
    for part in runners or [WAITING]:
        division.wall[part] += time / max(1, len(runners))

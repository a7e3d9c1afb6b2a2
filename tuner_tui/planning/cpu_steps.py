"""The time of a CPU's steps by arithmetic: micro-batches of rows of given lengths on so many threads."""

from __future__ import annotations

import heapq
from functools import lru_cache
from random import Random

START_TOKENS = 40
"""Fixed cost of a micro-batch, in tokens: launching the operations, and small matrix products."""
BUSY_TOKENS = 256
"""Tokens per micro-batch from which a CPU gains nothing more (tests/benchmarks/planner_speed.py)."""
THREADS_POWER = 0.4
"""Threads of one micro-batch speed it up by about this power of their number."""
DRAWN_STEPS = 64
"""Steps that are drawn from a sample of rows."""


def micro_batch_time(tokens: float) -> float:
    """The time of a micro-batch, in tokens of a large one; `tokens` with padding."""
    return tokens + START_TOKENS * max(1.0, tokens / BUSY_TOKENS)


def token_cost(tokens: float, concurrent: int, threads: int) -> float:
    """Time per token of micro-batches that all have so many tokens, relative to a large one on one thread."""
    return micro_batch_time(tokens) / tokens / _speed(concurrent, threads)


@lru_cache(maxsize=1024)
def step_cost(
    sample: tuple[int, ...], rows: int, batch_size: int, concurrent: int, threads: int, *, is_sorted: bool
) -> float:
    """Time per token of a row in steps of `batch_size` random rows of a sample, as `token_cost` has it.

    `rows`: in a micro-batch. The next micro-batch begins as soon as one of those that are computed at the same time
    has ended.
    """
    draw = Random(0)
    took = tokens = 0.0
    for _ in range(DRAWN_STEPS):
        lengths = draw.choices(sample, k=batch_size)
        tokens += sum(lengths)
        if is_sorted:
            lengths.sort(reverse=True)
        ends = [0.0] * concurrent
        for start in range(0, batch_size, rows):
            micro_batch = lengths[start : start + rows]
            heapq.heapreplace(ends, ends[0] + micro_batch_time(len(micro_batch) * max(micro_batch)))
        took += max(ends)
    return took / tokens / (_speed(concurrent, threads) / concurrent)


def _speed(concurrent: int, threads: int) -> float:
    return concurrent * float(max(1, threads // concurrent) ** THREADS_POWER)

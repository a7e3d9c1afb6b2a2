"""The order of the fallback steps where micro-batches are computed at the same time."""

from __future__ import annotations

from tuner_tui.planning.oom_fallback import (
    FALLBACK_KINDS,
    FallbackStep,
    Shape,
    apply_fallbacks,
    next_fallback,
)

FIRST = Shape(micro_batch=2, batch_size=8, is_checkpointing=False, concurrent=4)


def fallbacks_of(shape: Shape) -> list[tuple[str, Shape]]:
    """(what it was, the settings after it) of each fallback step until none is left."""
    taken: tuple[FallbackStep, ...] = ()
    found: list[tuple[str, Shape]] = []
    while True:
        now = apply_fallbacks(shape, taken)
        step = next_fallback(now, taken, FALLBACK_KINDS, has_made_steps=False)
        if step is None:
            return found
        taken += (step,)
        found.append((f"{step.before} -> {step.after}", apply_fallbacks(shape, taken)))


def test_one_micro_batch_at_a_time_comes_before_smaller_ones() -> None:
    found = fallbacks_of(FIRST)
    assert [words for words, _ in found] == [
        "2 x 4, 4 at a time -> 2 x 4, one after another",
        "2 x 4 -> 1 x 8",
        "off -> on",
    ]
    shapes = [(shape.micro_batch, shape.concurrent, shape.is_checkpointing) for _, shape in found]
    assert shapes == [(2, 1, False), (1, 1, False), (1, 1, True)]


def test_fallback_steps_of_earlier_versions_are_read_as_before() -> None:
    step = FallbackStep(kind="micro_batch", before="4 x 2", after="2 x 4", reason="")
    before = Shape(micro_batch=4, batch_size=8, is_checkpointing=False)
    assert apply_fallbacks(before, (step,)) == Shape(micro_batch=2, batch_size=8, is_checkpointing=False)

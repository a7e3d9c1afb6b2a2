"""The OOM fallback steps, in order; rows per step, their order, learning rate and length stay as set."""

from __future__ import annotations

from typing import Literal

import msgspec

FallbackKind = Literal["free", "micro_batch", "checkpointing"]
FALLBACK_KINDS: tuple[FallbackKind, ...] = ("free", "micro_batch", "checkpointing")


class FallbackStep(msgspec.Struct, frozen=True, kw_only=True):
    """One change that was made so that a run fits."""

    kind: FallbackKind
    before: str
    after: str
    reason: str
    micro_batch: int | None = None
    """Rows computed at once after it; None for kinds that leave them."""

    def __post_init__(self) -> None:
        """Rungs that were written before they had the number tell it in words. Raises ValueError where those do not."""
        if self.kind == "micro_batch" and self.micro_batch is None:
            msgspec.structs.force_setattr(self, "micro_batch", int(self.after.partition(" ")[0]))


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how much memory a step takes, as far as fallback steps may change it."""

    micro_batch: int
    """Rows computed at once; divides `batch_size`."""
    batch_size: int
    """Rows per optimizer step; no fallback step changes it."""
    is_checkpointing: bool
    at_least: int = 1
    """The fewest rows that can be computed at once."""


def next_fallback(
    shape: Shape,
    fallbacks: tuple[FallbackStep, ...],
    allowed: tuple[FallbackKind, ...],
    *,
    has_made_steps: bool,
) -> FallbackStep | None:
    """The next thing to try, or None when nothing is left.

    A fresh process alone (`free`) helps only where steps fitted before, so it is tried once and only then.
    """
    taken = {fallback.kind for fallback in fallbacks}
    if "free" in allowed and has_made_steps and "free" not in taken:
        return FallbackStep(
            kind="free",
            before="a process with fragmented memory",
            after="a fresh process",
            reason="earlier steps fitted, so a process without fragmentation may be enough",
        )
    smaller = halved(shape)
    if "micro_batch" in allowed and smaller < shape.micro_batch:
        return FallbackStep(
            kind="micro_batch",
            before=f"{shape.micro_batch} x {shape.batch_size // shape.micro_batch}",
            after=f"{smaller} x {shape.batch_size // smaller}",
            reason="fewer rows at once, with more accumulation: each optimizer step still has the same rows",
            micro_batch=smaller,
        )
    if "checkpointing" in allowed and not shape.is_checkpointing:
        return FallbackStep(
            kind="checkpointing",
            before="off",
            after="on",
            reason="activations are recomputed instead of kept; steps take about a quarter longer",
        )
    return None


def halved(shape: Shape) -> int:
    """The largest divisor of the batch size that is at most half the micro-batch; the micro-batch if there is none."""
    smaller = range(shape.at_least, shape.micro_batch // 2 + 1)
    return max((size for size in smaller if shape.batch_size % size == 0), default=shape.micro_batch)


def apply_fallbacks(shape: Shape, fallbacks: tuple[FallbackStep, ...]) -> Shape:
    """The settings after all fallback steps taken."""
    micro_batch, is_checkpointing = shape.micro_batch, shape.is_checkpointing
    for fallback in fallbacks:
        micro_batch = min(micro_batch, fallback.micro_batch or micro_batch)
        is_checkpointing |= fallback.kind == "checkpointing"
    return msgspec.structs.replace(shape, micro_batch=micro_batch, is_checkpointing=is_checkpointing)

"""The OOM fallback steps, in order; batch size, row order, learning rate and length stay as set."""

from __future__ import annotations

from typing import Literal

import msgspec

FallbackKind = Literal["free", "micro_batch", "checkpointing"]
FALLBACK_KINDS: tuple[FallbackKind, ...] = ("free", "micro_batch", "checkpointing")


class FallbackStep(msgspec.Struct, frozen=True, kw_only=True):
    """One change made so that a run fits."""

    kind: FallbackKind
    before: str
    after: str
    reason: str
    micro_batch: int | None = None
    """The micro-batch after it; None for kinds that do not change it."""

    def __post_init__(self) -> None:
        """Earlier versions stored the micro-batch only in `after`. Raises ValueError if it is not there."""
        if self.kind == "micro_batch" and self.micro_batch is None:
            msgspec.structs.force_setattr(self, "micro_batch", int(self.after.partition(" ")[0]))


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a step that decide its memory and that fallback steps may change."""

    micro_batch: int
    """The micro-batch; divides `batch_size`."""
    batch_size: int
    """Rows per optimizer step; no fallback step changes it."""
    is_checkpointing: bool
    at_least: int = 1
    """The smallest possible micro-batch."""
    concurrent: int = 1
    """How many micro-batches are computed at a time."""


def next_fallback(
    shape: Shape,
    fallbacks: tuple[FallbackStep, ...],
    allowed: tuple[FallbackKind, ...],
    *,
    has_made_steps: bool,
) -> FallbackStep | None:
    """The next fallback step, or None if none is left.

    A fresh process alone (`free`) helps only if earlier steps fitted, so it is tried once and only then.
    """
    taken = {fallback.kind for fallback in fallbacks}
    if "free" in allowed and has_made_steps and "free" not in taken:
        return FallbackStep(
            kind="free",
            before="a process with fragmented memory",
            after="a fresh process",
            reason="earlier steps fitted, so a process without fragmentation may be enough",
        )
    if "micro_batch" in allowed and shape.concurrent > 1:
        return FallbackStep(
            kind="micro_batch",
            before=f"{shape.micro_batch} x {shape.batch_size // shape.micro_batch}, {shape.concurrent} at a time",
            after=f"{shape.micro_batch} x {shape.batch_size // shape.micro_batch}, one after another",
            reason="one micro-batch at a time needs less memory: each optimizer step still has the same rows",
            micro_batch=shape.micro_batch,
        )
    smaller = halved(shape)
    if "micro_batch" in allowed and smaller < shape.micro_batch:
        return FallbackStep(
            kind="micro_batch",
            before=f"{shape.micro_batch} x {shape.batch_size // shape.micro_batch}",
            after=f"{smaller} x {shape.batch_size // smaller}",
            reason="a smaller micro-batch with more accumulation: each optimizer step still has the same rows",
            micro_batch=smaller,
        )
    if "checkpointing" in allowed and not shape.is_checkpointing:
        return FallbackStep(
            kind="checkpointing",
            before="off",
            after="on",
            reason="activations are recomputed; steps take about a quarter longer",
        )
    return None


def halved(shape: Shape) -> int:
    """The largest divisor of the batch size that is at most half the micro-batch; the micro-batch if there is none."""
    smaller = range(shape.at_least, shape.micro_batch // 2 + 1)
    return max((size for size in smaller if shape.batch_size % size == 0), default=shape.micro_batch)


def apply_fallbacks(shape: Shape, fallbacks: tuple[FallbackStep, ...]) -> Shape:
    """The settings after the given fallback steps."""
    micro_batch, is_checkpointing, concurrent = shape.micro_batch, shape.is_checkpointing, shape.concurrent
    for fallback in fallbacks:
        concurrent = 1 if fallback.kind == "micro_batch" else concurrent
        micro_batch = min(micro_batch, fallback.micro_batch or micro_batch)
        is_checkpointing |= fallback.kind == "checkpointing"
    return msgspec.structs.replace(
        shape, micro_batch=micro_batch, is_checkpointing=is_checkpointing, concurrent=concurrent
    )

"""The time of a training step, what was computed in it, and how its parts are named in a trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import torch

from tuner_tui.worker.text.tokenised import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "tuner-tui: "
"""How the names of our ranges begin in a trace; the part follows."""
HEAD_DONE = "head done"
"""The moment in which the backward pass has left the loss head."""


class BatchCount(NamedTuple):
    """What a micro-batch holds; tensors of one number are read when the profile ends, and no step waits for them."""

    sequences: int
    padded: int
    tokens: int | torch.Tensor
    with_loss: int | torch.Tensor | None


class StepTime(NamedTuple):
    """A step's time, and what was computed in it."""

    seconds: float
    cpu_seconds: float
    """Processor time of all threads of this process."""
    others_seconds: float
    """Processor time of other programs."""
    batches: Sequence[BatchCount]

    @property
    def padded(self) -> int:
        return sum(batch.padded for batch in self.batches)


class Clock:
    """Begins with a step."""

    def __init__(self) -> None:
        self._wall, self._own, self._all = time.perf_counter(), time.process_time(), _busy_seconds()

    def time(self, batches: Sequence[BatchCount]) -> StepTime:
        """The time since, for a step that computed these micro-batches."""
        own = time.process_time() - self._own
        others = max(0.0, _busy_seconds() - self._all - own)
        return StepTime(time.perf_counter() - self._wall, own, others, batches)


def _busy_seconds() -> float:
    """Processor time of everything on this machine since it was started, as the system counts it."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def count_batch(batch: Any) -> BatchCount | None:
    """What a collated micro-batch holds; None for a batch without token IDs.

    Trainers of pairs have several kinds of token IDs; prompts that are repeated with their answers do not count.
    """
    if not isinstance(batch, dict) and not hasattr(batch, "items"):
        return None
    names = [name for name in batch if name.endswith("input_ids") and not name.startswith("prompt")]
    sequences, padded = 0, 0
    tokens: Any = 0
    with_loss: Any = None
    for name in names:
        ids, stem = batch[name], name.removesuffix("input_ids")
        if not isinstance(ids, torch.Tensor):
            continue
        mask, labels = batch.get(f"{stem}attention_mask"), batch.get(f"{stem}labels")
        sequences += len(ids)
        padded += ids.numel()
        tokens = tokens + (ids.numel() if mask is None else mask.sum())
        counted = (
            (labels[..., 1:] != IGNORED).sum() if labels is not None else batch.get(f"{stem}completion_mask")
        )
        if counted is not None:
            with_loss = (0 if with_loss is None else with_loss) + counted.sum()
    return BatchCount(sequences, padded, tokens, with_loss) if padded else None

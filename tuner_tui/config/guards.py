"""How a run handles out-of-memory errors and bad losses."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option

BadLoss = Literal["stop", "skip", "roll_back"]


class GuardSpec(Section):
    """What to do on an out-of-memory error or a bad loss."""

    memory_rungs: tuple[Literal["free", "micro_batch", "checkpointing"], ...] = option(
        ("free", "micro_batch", "checkpointing"),
        "On out of memory",
        "The OOM fallback steps to try, in this order: free (a fresh process), micro_batch (half of it, with twice the "
        "accumulation), checkpointing (on). An empty list ends the run instead.",
        "Rows per optimizer step, their order, learning rate and length do not change; smaller micro-batches and "
        "checkpointing are slower.",
    )
    on_bad_loss: BadLoss = option(
        "stop",
        "On a bad loss",
        "When loss or gradient is not a finite number, or spikes: stop the run, skip the step's rows, or go back "
        "to the last checkpoint and skip them then.",
        "Skipping keeps the run going where one bad row would end it; many skips hide a too high learning rate.",
    )
    spike_factor: float | None = option(
        None,
        "Spike",
        "A loss this many times the median of the last steps counts as bad; if unset, only non-finite values do.",
        "Low values skip rows that are merely hard.",
        gt=1,
        le=1000,
    )
    most_skips: int = option(
        10, "Most skips", "The run stops after this many skipped steps.", ge=1, le=100_000
    )

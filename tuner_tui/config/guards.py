"""What a run does when something goes wrong in it."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option

BadLoss = Literal["stop", "skip", "roll_back"]


class GuardSpec(Section):
    """What is done when memory runs out or the loss goes bad."""

    memory_rungs: tuple[Literal["free", "micro_batch", "checkpointing"], ...] = option(
        ("free", "micro_batch", "checkpointing"),
        "When memory runs out",
        "What may be tried, in this order: free (a fresh process), micro_batch (half of it, with twice the "
        "accumulation), checkpointing (on). An empty list ends the run instead.",
        "Rows per optimizer step, their order, learning rate and length stay; smaller micro-batches and "
        "checkpointing are slower.",
    )
    on_bad_loss: BadLoss = option(
        "stop",
        "On a bad loss",
        "When loss or gradient is not a finite number, or spikes: stop the run, skip the step's rows, or go back "
        "to the last checkpoint and skip them then.",
        "Skipping goes on where one broken row would end the run; many skips hide a learning rate that is too high.",
    )
    spike_factor: float | None = option(
        None,
        "Spike",
        "A loss so many times the median of the last steps counts as bad; absent: only what is not finite.",
        "Low values skip rows that are merely hard.",
        gt=1,
        le=1000,
    )
    most_skips: int = option(10, "Most skips", "The run stops after so many skipped steps.", ge=1, le=100_000)

"""Whether a run has steps enough to get past its warm-up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.config.methods import own_options
from tuner_tui.planning.enough_rows import held_out_of

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec


class ShortRun(NamedTuple):
    """What is wrong with a run that ends within its warm-up, and what to do about it."""

    message: str
    hint: str


def steps_of(spec: RunSpec, rows: int) -> int | None:
    """Optimizer steps of a run on so many rows; None where packing decides."""
    training = spec.training
    if training.max_steps is not None:
        return training.max_steps
    if own_options.is_packed(spec.method):
        return None
    rows -= held_out_of(spec, rows)
    return math.ceil(math.ceil(rows / training.batch_size) * training.epochs)


def short_run(spec: RunSpec, steps: int | None) -> ShortRun | None:
    """What to tell of a run of so many steps; None where its learning rate gets to its peak.

    The learning rate rises from 0 in the first step, over `warmup` of all steps, rounded up, as transformers has it.
    """
    warmup, schedule = spec.training.warmup, spec.training.schedule
    if steps is None or schedule == "constant" or math.ceil(steps * warmup) < steps:
        return None
    if steps == 1:
        message = "The run has one step, and its learning rate is 0: no weight changes."
    else:
        message = f"All {steps} steps of the run are warm-up: the learning rate never reaches its peak."
    hint = f"Set training.warmup = 0 (it is {warmup:g}), or give the run more steps: more rows, a larger "
    return ShortRun(message, hint + "training.epochs, or a smaller training.batch_size.")

"""Whether this model's micro-batches can be computed at the same time: what is known to prevent it, then a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.planning.choices import CONCURRENT
from tuner_tui.planning.plan import Choice
from tuner_tui.runs.events import ChoicesMade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.worker.job import Job

TRIAL_TOKENS = 8
"""Tokens of each row in the trial: the last ones, which have loss."""
VARYING_ROTATIONS = ("dynamic", "longrope")
"""Kinds of RoPE whose frequencies a model changes while it computes, by the length of what it computes."""


def begin_concurrent(job: Job, trainer: Any) -> None:
    """Compute as many micro-batches at a time as planned, or one after another where this model cannot; reports why."""
    planned = 1 if job.shape is None else job.shape.concurrent
    if planned < 2:
        return
    trainer.threads_each = max(1, torch.get_num_threads() // planned)
    reason = what_prevents(trainer) or trial_problem(trainer, planned)
    if reason:
        choice = Choice(name=CONCURRENT, value="1", reason=reason)
        job.emit(ChoicesMade(choices=(choice,)))
        return
    trainer.concurrent = planned


def what_prevents(trainer: Any) -> str:
    """Why micro-batches cannot be computed at the same time; empty where nothing is known."""
    model = trainer.model
    if trainer.args.device.type != "cpu":
        return "only on CPUs"
    for module in model.modules():
        if _drops(module):
            return "dropout draws from one random state"
        if getattr(module, "rope_type", None) in VARYING_ROTATIONS:
            return f"{module.rope_type} RoPE changes its frequencies while it computes"
        if type(module).__name__ == "Linear8bitLt":
            return "int8 layers keep a state while they compute"
    return ""


def _drops(module: torch.nn.Module) -> bool:
    """Whether a module zeroes random values while training; also by rates that are numbers in a model's own code."""
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
        return module.p > 0
    return any(
        isinstance(rate, float) and rate > 0 and name.endswith(("dropout", "layerdrop"))
        for name, rate in vars(module).items()
    )


def trial_problem(trainer: Any, concurrent: int) -> str:
    """Why not, as two small micro-batches show: they must give the same bits at the same time as one after another.

    Changes no weights, gradients, metrics or random states.
    """
    batches = _small_batches(trainer)
    if len(batches) < 2:
        return ""
    alone = _losses_and_gradients(trainer, batches, 1)
    together = _losses_and_gradients(trainer, batches, concurrent)
    if all(map(torch.equal, alone, together)):
        return ""
    return "this model gives other gradients then"


def _small_batches(trainer: Any) -> list[dict[str, torch.Tensor]]:
    """Two micro-batches of the first rows; none where there are fewer rows, which make one micro-batch a step."""
    size = trainer.job.shape.at_least
    if len(trainer.train_dataset) < 2 * size:
        return []
    batches = []
    for start in (0, size):
        rows = [dict(trainer.train_dataset[place]) for place in range(start, start + size)]
        batch = trainer.data_collator(rows)
        batches.append({name: _cut(value) for name, value in batch.items()})
    return batches


def _cut(value: Any) -> Any:
    is_by_token = isinstance(value, torch.Tensor) and value.ndim == 2
    return value[:, -TRIAL_TOKENS:] if is_by_token else value


def _losses_and_gradients(
    trainer: Any, batches: Sequence[dict[str, torch.Tensor]], concurrent: int
) -> list[torch.Tensor]:
    model = trainer.model
    was_training = model.training
    try:
        with torch.random.fork_rng(devices=()):
            losses, gradients = trainer.look_at_gradients(model, batches, concurrent)
    finally:
        model.train(was_training)
    return [*losses, *(gradient for gradient in gradients if gradient is not None)]

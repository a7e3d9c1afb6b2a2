"""Losses far above those before: what counts as one, and that a resumed run still knows the steps before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import Trainer

from tests.worker.runs import Run, StopAfter
from tuner_tui.runs.events import RunFailed, RunFinished, StepSkipped
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training import guarded_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from tuner_tui.runs.folder import RunFolder

TRAINING = {"max_steps": 9, "batch_size": 2, "micro_batch": 1}


@pytest.fixture
def spiking(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The steps at which the loss is ten times what it is."""
    steps: set[int] = set()
    make_step = Trainer.training_step

    def spike(self: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = make_step(self, *arguments, **named)
        return loss * 10 if self.state.global_step + 1 in steps else loss

    monkeypatch.setattr(Trainer, "training_step", spike)
    monkeypatch.setattr(guarded_steps, "MEDIAN_FROM", 4)
    return steps


def test_a_spike_is_one_also_right_after_a_resume(
    make_run: Callable[..., RunFolder], spiking: set[int]
) -> None:
    spiking |= {2, 7}  # too early to know what is usual; known, though this worker made but one step before
    folder = make_run(training=TRAINING, guards={"spike_factor": 5.0, "on_bad_loss": "skip"})
    run_job(folder.path, stop=StopAfter(folder, 5))
    run = Run(folder, run_job(folder.path, is_resumed=True))
    (skipped,) = run.all(StepSkipped)
    assert skipped.step == 7
    assert "times the median of the previous steps" in skipped.reason
    assert run.last(RunFinished).step == 9


def test_skips_before_a_resume_count(make_run: Callable[..., RunFolder], spiking: set[int]) -> None:
    spiking |= {5, 8}
    folder = make_run(training=TRAINING, guards={"spike_factor": 5.0, "on_bad_loss": "skip", "most_skips": 1})
    run_job(folder.path, stop=StopAfter(folder, 5))
    run = Run(folder, run_job(folder.path, is_resumed=True))
    assert [each.step for each in run.all(StepSkipped)] == [5]
    assert "after 1 skipped step." in run.last(RunFailed).message

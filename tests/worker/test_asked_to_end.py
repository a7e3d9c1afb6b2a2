"""What a stop or a pause comes to when memory, the loss or the disk is in trouble at the same moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import Trainer

from tests.worker.runs import Run
from tuner_tui.runs.ending_words import saved_words
from tuner_tui.runs.events import (
    CheckpointSaved,
    MemoryShort,
    RunFinished,
    RunStopped,
    StepLogged,
    Warned,
)
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training import checkpoints
from tuner_tui.worker.training.reporter import ReportingCallback

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder

SAVING = {"training": {"max_steps": 5, "batch_size": 2}, "checkpoints": {"every_steps": 1}}


def ask_after(step: int, monkeypatch: pytest.MonkeyPatch, *, is_pause: bool = False) -> None:
    """Have a stop or a pause accepted as a step ends."""
    report = ReportingCallback.on_log

    def asking(
        self: ReportingCallback, args: Any, state: Any, control: Any, *rest: Any, **named: Any
    ) -> None:
        report(self, args, state, control, *rest, **named)
        if state.global_step == step:
            self._job.stop.set()
            if is_pause:
                self._job.pause.set()

    monkeypatch.setattr(ReportingCallback, "on_log", asking)


@pytest.mark.parametrize("trouble", ["memory", "loss"])
def test_a_stop_is_not_forgotten_when_the_next_step_fails(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    ask_after(2, monkeypatch)
    begin = Trainer.training_step

    def failing(self: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = begin(self, *arguments, **named)
        if self.state.global_step < 2:
            return loss
        if trouble == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss * float("nan")

    monkeypatch.setattr(Trainer, "training_step", failing)
    folder = make_run(**SAVING, guards={"on_bad_loss": "roll_back"})
    assert run_job(folder.path) == 0
    ending = Run(folder, 0).last(RunStopped)
    assert (ending.step, ending.checkpoint) == (2, "step-000002")
    assert saved_words(ending) == "saved as step-000002"


@pytest.mark.parametrize("is_pause", [True, False])
def test_without_its_checkpoint_a_pause_does_not_leave_and_a_stop_says_what_is_lost(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, is_pause: bool
) -> None:
    ask_after(2, monkeypatch, is_pause=is_pause)
    make_complete = checkpoints._make_complete

    def full_disk(made: Any, step: int, *rest: Any) -> None:
        if step == 3:
            raise OSError(28, "No space left on device")
        make_complete(made, step, *rest)

    monkeypatch.setattr(checkpoints, "_make_complete", full_disk)
    folder = make_run(**SAVING)
    assert run_job(folder.path) == 0
    run = Run(folder, 0)
    if is_pause:
        assert run.last(RunFinished).step == 5
        assert run.last(Warned).message.startswith("Not paused: without a checkpoint of step 3")
    else:
        ending = run.last(RunStopped)
        assert (ending.step, ending.checkpoint) == (3, "step-000002")
        assert saved_words(ending) == "saved as step-000002, the last step will be repeated"


def test_memory_that_runs_out_while_saving_is_not_told_as_disk_trouble(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Trainer._save_optimizer_and_scheduler
    failures = iter((False, True))

    def failing(self: Any, *arguments: Any) -> None:
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        save(self, *arguments)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", failing)
    folder = make_run(**SAVING)
    run_job(folder.path)
    run = Run(folder, 0)
    assert run.last(MemoryShort).checkpoint == "step-000002"
    assert not run.all(Warned)
    assert run_job(folder.path, is_resumed=True) == 0
    assert [event.step for event in run.all(StepLogged)] == [1, 2, 3, 4, 5]


def test_the_best_evaluations_weights_stay_whatever_the_schedules(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, losses = Trainer.evaluate, iter((3.0, 2.0, 4.0, 4.0))
    monkeypatch.setattr(
        Trainer, "evaluate", lambda *given, **named: evaluate(*given, **named) | {"eval_loss": next(losses)}
    )
    run = train(
        data={"evaluation_share": 0.25},
        training={"max_steps": 7},
        evaluation={"every_steps": 2},
        checkpoints={"every_steps": 3, "keep": 1},
    )
    kept = [checkpoints.step_of(path) for path in checkpoints.checkpoint_folders(run.folder.checkpoints)]
    assert kept == [4, 7]
    assert [event.step for event in run.all(CheckpointSaved)] == [2, 3, 4, 6, 7]

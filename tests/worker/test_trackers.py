"""Trackers beside a real trainer: told what transformers tells them, and left out when they fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from tuner_tui.config.settings import set_setting
from tuner_tui.runs.folder import RunFolder
from tuner_tui.worker.training import trackers
from tuner_tui.worker.training.trackers import SoftTracker, add_trackers

if TYPE_CHECKING:
    from pathlib import Path


class OneWeight(torch.nn.Module):
    """The smallest model that a trainer can train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.weight * x).square().mean()}


class Recording(TrainerCallback):
    """A tracker that writes down what it is told, and fails from some step on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.logs: list[dict[str, float]] = []
        self.names: set[tuple[str, str]] = set()
        self.began = self.ended = False
        self._fails_at = fails_at

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if self._fails_at is not None and state.global_step >= self._fails_at:
            raise ConnectionError("the tracker is down\nand has more to say")
        self.names.add((args.run_name, args.project))
        self.logs.append(dict(logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ended = True


def make_trainer(folder: Path) -> Trainer:
    arguments = TrainingArguments(
        str(folder), max_steps=4, logging_steps=1, report_to="none", use_cpu=True, disable_tqdm=True
    )
    rows = [{"x": torch.tensor(float(number))} for number in range(8)]
    return Trainer(OneWeight(), arguments, train_dataset=rows)


def warnings() -> tuple[list[str], Any]:
    said: list[str] = []
    return said, lambda message, hint: said.append(f"{message} {hint}")


def test_a_tracker_is_told_every_figure_under_the_runs_name(tmp_path: Path) -> None:
    trainer, tracker = make_trainer(tmp_path), Recording()
    said, warn = warnings()
    trainer.add_callback(SoftTracker("it", tracker, "octopus-3f2a", "sea", warn))
    trainer.train()
    assert [log["loss"] for log in tracker.logs if "loss" in log] != []
    assert len([log for log in tracker.logs if "loss" in log]) == 4
    assert tracker.names == {("octopus-3f2a", "sea")}
    assert tracker.began
    assert tracker.ended
    assert said == []
    assert trainer.args.run_name != "octopus-3f2a"


def test_one_that_fails_is_left_out_and_the_run_goes_on(tmp_path: Path) -> None:
    trainer, tracker = make_trainer(tmp_path), Recording(fails_at=2)
    said, warn = warnings()
    trainer.add_callback(SoftTracker("it", tracker, "a-run", "sea", warn))
    assert trainer.train().global_step == 4
    assert len(tracker.logs) == 1
    assert not tracker.ended
    [warning] = said
    assert "it failed and is no longer used: the tracker is down" in warning
    assert "more to say" not in warning


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    said, warn = warnings()
    return SimpleNamespace(folder=RunFolder(tmp_path / "a-run"), warn=warn, said=said)


def test_none_is_asked_for_by_default(tmp_path: Path, job: Any) -> None:
    trainer = make_trainer(tmp_path)
    before = len(trainer.callback_handler.callbacks)
    add_trackers(trainer, job)
    assert len(trainer.callback_handler.callbacks) == before
    assert job.said == []


def test_one_that_is_not_installed_is_a_warning_with_the_remedy(
    tmp_path: Path, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(names: list[str]) -> list[Any]:
        def make() -> None:
            raise RuntimeError(f"{names[0]} is not installed")

        return [make]

    set_setting("trackers.report_to", "wandb, trackio")
    monkeypatch.setattr(trackers, "find_callbacks", missing)
    trainer = make_trainer(tmp_path)
    add_trackers(trainer, job)
    assert trainer.train().global_step == 4
    assert len(job.said) == 2
    assert "wandb is not installed" in job.said[0]
    assert "tuner-tui[wandb]" in job.said[0]


def test_transformers_knows_every_tracker_of_the_settings() -> None:
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    from tuner_tui.config.setting_list import BY_KEY

    find: Any = get_reporting_integration_callbacks
    for name in BY_KEY["trackers.report_to"].choices:
        [made] = find([name])
        assert issubclass(made, TrainerCallback)


def test_tensorboard_writes_into_the_runs_folder(tmp_path: Path, job: Any) -> None:
    pytest.importorskip("tensorboard")
    set_setting("trackers.report_to", "tensorboard")
    trainer = make_trainer(tmp_path)
    add_trackers(trainer, job)
    trainer.train()
    assert job.said == []
    assert list((tmp_path / "a-run" / "tensorboard").rglob("events.out.tfevents.*"))

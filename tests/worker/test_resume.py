"""A run that was stopped, or whose checkpoint is broken, goes on to exactly the same result."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.runs import Run, StopAfter, stop_and_resume
from tuner_tui.runs.events import (
    CheckpointSaved,
    Evaluated,
    RunFailed,
    RunFinished,
    RunStopped,
    StepLogged,
    TrainingStarted,
    Warned,
)
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training.checkpoints import checkpoint_folders, is_at_end, why_corrupt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

DROPOUT = {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1}
EPOCHS = {"max_steps": None, "epochs": 3, "batch_size": 2, "micro_batch": 1, "schedule": "cosine"}


def adapter_bytes(run: Run) -> bytes:
    return (run.folder.adapter / "adapter_model.safetensors").read_bytes()


def curve(run: Run) -> list[tuple[float | None, float | None, float | None]]:
    return [(step.loss, step.grad_norm, step.learning_rate) for step in run.all(StepLogged)]


@pytest.mark.parametrize(
    ("precision", "stop_at", "training"),
    [
        ("fp32", 6, {}),  # in the second epoch
        pytest.param("fp32", 4, {}, marks=pytest.mark.slow),  # at the first one's end
        pytest.param("bf16", 3, {}, marks=pytest.mark.slow),
        ("nf4", 6, {}),
        pytest.param("int8", 6, {}, marks=pytest.mark.slow),
        pytest.param("fp32", 6, {"group_by_length": True}, marks=pytest.mark.slow),
        pytest.param("fp32", 6, {"optimizer": "adamw_8bit", "checkpointing": "on"}, marks=pytest.mark.slow),
    ],
)
def test_resume_is_exact(
    train: Callable[..., Run],
    make_run: Callable[..., RunFolder],
    precision: str,
    stop_at: int,
    training: dict[str, Any],
) -> None:
    tables = {"model": {"precision": precision}, "tuning": DROPOUT, "training": EPOCHS | training}
    whole = train(**tables)
    resumed = stop_and_resume(make_run(**tables), stop_at)
    assert resumed.last(TrainingStarted).from_step == stop_at
    assert len(whole.losses) == 12
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)
    assert resumed.last(RunFinished).reason == "complete"


@pytest.mark.parametrize(
    "schedules",
    [(None, None), *(pytest.param(each, marks=pytest.mark.slow) for each in ((None, 2), (3, None), (2, 2)))],
)
def test_resume_keeps_evaluations_in_their_places(
    train: Callable[..., Run],
    make_run: Callable[..., RunFolder],
    schedules: tuple[int | None, int | None],
) -> None:
    evaluate, save = schedules
    tables: dict[str, Any] = {
        "data": {"evaluation_share": 0.2},  # 6 of 8 rows stay: three steps an epoch
        "tuning": DROPOUT,
        "training": EPOCHS | {"epochs": 2},
        "evaluation": {"every_steps": evaluate},
        "checkpoints": {"every_steps": save},
    }
    whole = train(**tables)

    def looks(run: Run) -> list[tuple[int, float | None, bool]]:
        return [(event.step, event.loss, event.is_best) for event in run.all(Evaluated)]

    assert len(whole.losses) == 6
    for stop_at in (2, 3, 4):  # within an epoch, at its end, and asked while it ends
        resumed = stop_and_resume(make_run(**tables), stop_at)
        assert looks(resumed) == looks(whole), stop_at
        assert curve(resumed) == curve(whole)
        assert adapter_bytes(resumed) == adapter_bytes(whole)


def test_a_torn_checkpoint_is_passed_over_and_said(
    train: Callable[..., Run], make_run: Callable[..., RunFolder]
) -> None:
    tables = {"tuning": DROPOUT, "training": EPOCHS, "checkpoints": {"every_steps": 2}}
    whole = train(**tables)
    folder = make_run(**tables)
    run_job(folder.path, stop=StopAfter(folder, 5))
    torn = folder.checkpoints / "step-000006" / "optimizer.pt"
    os.truncate(torn, torn.stat().st_size - 1)
    resumed = Run(folder, run_job(folder.path, is_resumed=True))
    assert "step-000006 is corrupt: optimizer.pt is missing or truncated" in resumed.last(Warned).message
    assert resumed.last(TrainingStarted).checkpoint == "step-000004"
    assert curve(resumed)[:6] == curve(whole)[:6]
    assert curve(resumed)[6:] == curve(whole)[4:]  # two steps were made twice
    assert adapter_bytes(resumed) == adapter_bytes(whole)


def test_checkpoints_that_cannot_be_listed_are_no_reason_to_begin_anew(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    folder = make_run(training=EPOCHS)
    monkeypatch.setattr(os, "listdir", refuse)
    assert run_job(folder.path, is_resumed=True) == 1
    assert "checkpoints cannot be read" in Run(folder, 0).last(RunFailed).title


def test_without_a_whole_checkpoint_it_starts_anew(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(training=EPOCHS)
    run_job(folder.path, stop=StopAfter(folder, 2))
    (folder.checkpoints / "step-000003" / "manifest.json").unlink()
    resumed = Run(folder, run_job(folder.path, is_resumed=True))
    assert resumed.last(TrainingStarted).from_step == 0
    assert resumed.last(RunFinished).step == 12


@pytest.mark.parametrize("length", [{"max_steps": 5}, {"epochs": 1.5}])
def test_resuming_after_the_last_step_only_saves_the_result(
    train: Callable[..., Run], length: dict[str, Any]
) -> None:
    run = train(training=EPOCHS | length, checkpoints={"every_steps": None})
    before, steps = adapter_bytes(run), len(run.losses)
    shutil.rmtree(run.folder.adapter)
    assert run_job(run.folder.path, is_resumed=True) == 0
    assert len(run.losses) == steps
    assert adapter_bytes(run) == before
    assert run.last(RunFinished).step == steps


def test_a_checkpoint_that_remembers_a_loss_of_nan_is_read(tmp_path: Path) -> None:
    state = {"global_step": 7, "max_steps": 7, "log_history": [{"loss": float("nan")}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert is_at_end(tmp_path)


def test_a_stop_before_the_first_step_of_a_resumed_run_names_its_checkpoint(
    make_run: Callable[..., RunFolder],
) -> None:
    folder = make_run(training=EPOCHS)
    run_job(folder.path, stop=StopAfter(folder, 2))
    run_job(folder.path, is_resumed=True, stop=StopAfter(folder, 1))
    ending = Run(folder, 0).last(RunStopped)
    assert (ending.step, ending.checkpoint) == (3, "step-000003")


def test_a_stop_while_loading_ends_at_once(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run()
    stop = StopAfter(folder, 1)
    stop.is_set = lambda: True  # type: ignore[method-assign]
    assert run_job(folder.path, stop=stop) == 0
    run = Run(folder, 0)
    assert run.last(RunStopped).checkpoint is None
    assert not run.all(StepLogged)


def test_changed_rows_are_refused_and_the_old_ones_go_on(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(training=EPOCHS)
    run_job(folder.path, stop=StopAfter(folder, 2))
    data = folder.path.parents[3] / "rows.jsonl"
    old = data.read_text()
    rows = [json.loads(line) for line in old.splitlines()]
    data.write_text("".join(json.dumps(row | {"answer": "changed"}) + "\n" for row in rows))
    assert run_job(folder.path, is_resumed=True) == 1
    refused = Run(folder, 0).last(RunFailed)
    assert "rows have changed" in refused.title and str(data) in refused.message
    data.write_text(old)
    assert run_job(folder.path, is_resumed=True) == 0
    assert Run(folder, 0).last(RunFinished).step == Run(folder, 0).last(StepLogged).total_steps


def test_changed_held_out_rows_are_refused(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text('{"question": "Who?", "answer": "Me."}\n')
    folder = make_run(training=EPOCHS, data={"evaluation": str(held_out)})
    run_job(folder.path, stop=StopAfter(folder, 2))
    held_out.write_text('{"question": "Who?", "answer": "You."}\n')
    assert run_job(folder.path, is_resumed=True) == 1
    assert "held-out rows have changed" in Run(folder, 0).last(RunFailed).title


def test_checkpoints_are_whole_rotated_and_without_pickled_arguments(train: Callable[..., Run]) -> None:
    run = train(training={"max_steps": 7}, checkpoints={"every_steps": 2, "keep": 2})
    folders = checkpoint_folders(run.folder.checkpoints)
    assert [folder.name for folder in folders] == ["step-000006", "step-000007"]
    assert [why_corrupt(folder) for folder in folders] == [None, None]
    assert not (folders[-1] / "training_args.bin").exists()
    assert [saved.reason for saved in run.all(CheckpointSaved)] == ["schedule"] * 3 + ["end"]
    assert not [path for path in run.folder.checkpoints.iterdir() if path.name.startswith(".")]


def test_leftovers_of_a_killed_worker_are_removed(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(training={"max_steps": 1})
    for name in (".staging-000004-99", ".old-step-000002-99"):
        (folder.checkpoints / name / "inner").mkdir(parents=True)
    unfinished = folder.path / ".summary.json.x1y2_z34"
    unfinished.touch()
    assert run_job(folder.path) == 0
    assert not [path.name for path in folder.checkpoints.iterdir() if path.name.startswith(".")]
    assert not unfinished.exists()


def test_another_seed_is_refused_and_changed_libraries_are_named(
    make_run: Callable[..., RunFolder],
) -> None:
    folder = make_run(training=EPOCHS)
    run_job(folder.path, stop=StopAfter(folder, 2))
    checkpoint = checkpoint_folders(folder.checkpoints)[-1]
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    (checkpoint / "manifest.json").write_text(json.dumps(manifest | {"seed": 7}))
    refused = Run(folder, run_job(folder.path, is_resumed=True))
    failure = refused.last(RunFailed)
    assert failure.title == "The seed has changed"
    assert "training.seed = 7" in failure.message
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    resumed = Run(folder, run_job(folder.path, is_resumed=True))
    assert "torch 1.0 -> " in resumed.last(Warned).message
    assert resumed.last(RunFinished).step == 12


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_in_a_received_checkpoint_is_refused_by_us(
    make_run: Callable[..., RunFolder], tmp_path: Path, name: str
) -> None:
    import hashlib
    import pickle

    import msgspec

    from tuner_tui.worker.training.checkpoints import MANIFEST, ManifestFile, read_manifest

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = make_run(training={"max_steps": 4})
    run_job(folder.path, stop=StopAfter(folder, 1))
    checkpoint = checkpoint_folders(folder.checkpoints)[-1]
    content = pickle.dumps(Evil())
    (checkpoint / name).write_bytes(content)
    manifest = read_manifest(checkpoint)
    files = manifest.files | {name: ManifestFile(len(content), hashlib.sha256(content).hexdigest())}
    (checkpoint / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=files)))
    failed = Run(folder, run_job(folder.path, is_resumed=True)).last(RunFailed)
    assert name in failed.message and str(checkpoint) in failed.message
    assert "weights_only" not in f"{failed.title} {failed.message} {failed.hint}"
    assert not (tmp_path / "ran").exists()

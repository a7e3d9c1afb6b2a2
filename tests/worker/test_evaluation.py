"""Looking at held-out rows, stopping early, and keeping the best weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.runs import Run, stop_and_resume, write_rows
from tuner_tui.runs.events import (
    CheckpointSaved,
    DataPrepared,
    Evaluated,
    RunFailed,
    RunFinished,
    StepLogged,
    Warned,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

OVERFIT: dict[str, Any] = {
    # What is learnt is of no use for what is held out, so the loss there soon rises.
    "training": {"max_steps": None, "epochs": 20, "batch_size": 4, "learning_rate": 5e-2},
    "tuning": {"kind": "lora", "rank": 16, "alpha": 32.0},
}


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "held-out.jsonl", [{"question": "XYZ", "answer": "QQQQQQQQ 7777"}] * 3))


def test_a_file_is_evaluated_on_schedule_and_at_the_end(train: Callable[..., Run], held_out: str) -> None:
    run = train(data={"evaluation": held_out}, evaluation={"every_steps": 2}, training={"max_steps": 5})
    assert run.last(DataPrepared).evaluation_rows == 3
    assert [event.step for event in run.all(Evaluated)] == [2, 4, 5]
    assert all(event.seconds > 0 and "mean_token_accuracy" in event.metrics for event in run.all(Evaluated))


@pytest.mark.slow
def test_is_best_marks_each_new_lowest_loss(train: Callable[..., Run], held_out: str) -> None:
    run = train(data={"evaluation": held_out}, evaluation={"every_steps": 1}, **OVERFIT)
    losses = [event.loss or 0.0 for event in run.all(Evaluated)]
    assert [event.is_best for event in run.all(Evaluated)] == [
        all(loss < earlier for earlier in losses[:index]) for index, loss in enumerate(losses)
    ]
    assert 0 < sum(event.is_best for event in run.all(Evaluated)) < len(losses)


def test_a_share_is_held_out_by_seed(train: Callable[..., Run]) -> None:
    first, again, other = (
        train(data={"evaluation_share": 0.25}, training={"max_steps": 2, "seed": seed}) for seed in (1, 1, 2)
    )
    data = first.last(DataPrepared)
    assert (data.rows, data.evaluation_rows) == (6, 2)
    assert first.last(Evaluated).loss == again.last(Evaluated).loss != other.last(Evaluated).loss


@pytest.mark.parametrize("max_steps", [None, 3])
def test_without_a_schedule_each_epochs_end_is_evaluated(
    train: Callable[..., Run], max_steps: int | None
) -> None:
    run = train(
        data={"evaluation_share": 0.2}, training={"max_steps": max_steps, "epochs": 2, "batch_size": 3}
    )
    assert [event.step for event in run.all(Evaluated)] == ([2, 4] if max_steps is None else [2, 3])


def test_one_row_cannot_be_shared(train: Callable[..., Run]) -> None:
    run = train([{"text": "abc"}], data={"evaluation_share": 0.5}, evaluation={"early_stopping": 1})
    assert run.last(RunFailed).title == "Too few rows to hold any out"


def test_evaluation_rows_that_say_nothing_are_counted(train: Callable[..., Run], tmp_path: Path) -> None:
    rows = [{"prompt": "a" * 40, "completion": "b"}, {"prompt": "a", "completion": "b"}]
    held_out = write_rows(tmp_path / "held-out.jsonl", rows)
    run = train([{"text": "abc"}] * 4, data={"evaluation": str(held_out)}, training={"max_length": 20})
    assert "1 evaluation row has" in run.last(Warned).message


@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize("full", [False, True])
def test_early_stopping_keeps_the_best_weights(
    train: Callable[..., Run], held_out: str, every: int | None, full: bool
) -> None:
    tables = OVERFIT | {"evaluation": {"early_stopping": 2, "every_steps": every}}
    run = train(data={"evaluation": held_out}, checkpoints={"keep": 1}, full=full, **tables)
    ending = run.last(RunFinished)
    assert ending.reason == "early_stopping"
    best = [event for event in run.all(Evaluated) if event.is_best][-1]
    assert 0 < best.step < ending.step
    name = "model.safetensors" if full else "adapter_model.safetensors"
    best_bytes = (run.folder.checkpoints / f"step-{best.step:06d}" / name).read_bytes()
    last_bytes = (run.folder.checkpoints / f"step-{ending.step:06d}" / name).read_bytes()
    assert (run.folder.adapter / name).read_bytes() == best_bytes != last_bytes


def test_patience_outlives_a_stop(
    train: Callable[..., Run], make_run: Callable[..., RunFolder], held_out: str
) -> None:
    tables: dict[str, Any] = OVERFIT | {
        "data": {"evaluation": held_out},
        "evaluation": {"early_stopping": 3, "every_steps": 1},
    }
    whole = train(**tables)
    last = whole.last(RunFinished).step
    resumed = stop_and_resume(make_run(**tables), last - 1)
    assert resumed.last(RunFinished).step == last
    name = "adapter_model.safetensors"
    assert (resumed.folder.adapter / name).read_bytes() == (whole.folder.adapter / name).read_bytes()


def test_looking_does_not_change_what_is_learnt(train: Callable[..., Run], held_out: str) -> None:
    for precision in ("fp32", "int8", "nf4"):
        model = {"precision": precision}
        plain = train(model=model, training={"max_steps": 5})
        looking = train(
            model=model,
            training={"max_steps": 5},
            data={"evaluation": held_out},
            evaluation={"every_steps": 1},
        )
        assert len(looking.all(Evaluated)) == 5
        assert looking.losses == plain.losses, precision


def test_with_a_stop_the_best_checkpoint_stays(train: Callable[..., Run], held_out: str) -> None:
    run = train(
        data={"evaluation": held_out},
        evaluation={"every_steps": 1},
        checkpoints={"every_steps": 1, "keep": 1},
        **OVERFIT,
    )
    best = [event.step for event in run.all(Evaluated) if event.is_best][-1]
    kept = {path.name for path in run.folder.checkpoints.iterdir()}
    last = run.all(StepLogged)[-1].step
    assert kept == {f"step-{best:06d}", f"step-{last:06d}"}
    assert len(run.all(CheckpointSaved)) == last

"""Runs whose memory truly runs out: a limit on the address space of the worker, from a step on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.home import Home, wait_for
from tuner_tui.runs.events import (
    FallbackTaken,
    MemoryShort,
    RolledBack,
    RunFailed,
    RunFinished,
    StepSkipped,
    TrainingStarted,
)

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 24
LIMIT_FROM_A_STEP_ON = """
import resource
import torch
from pathlib import Path
from transformers import Trainer

once = Path({marker!r})
begin = Trainer.training_step

def limited(self, *arguments, **named):
    if self.state.global_step == {step} and not once.exists():
        once.touch()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * resource.getpagesize() + {headroom}
        resource.setrlimit(resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))
        rows_that_are_longer_than_those_before = torch.ones(64 << 20)
    return begin(self, *arguments, **named)

Trainer.training_step = limited
"""
RECORD_ROWS = """
import json, os
from pathlib import Path
from transformers import Trainer
make_step = Trainer.training_step

def recording(self, model, inputs, *arguments, **named):
    pad = self.processing_class.pad_token_id
    rows = [[token for token in row if token != pad] for row in inputs["input_ids"].tolist()]
    given = make_step(self, model, inputs, *arguments, **named)
    with Path({path!r}).open("a") as file:
        file.write(json.dumps([os.getpid(), self.state.global_step, rows]) + "\\n")
    return given

Trainer.training_step = recording
"""
FAIL_ABOVE = """
import torch
from transformers import Trainer
begin = Trainer.training_step

def failing(self, model, inputs, *arguments, **named):
    if len(inputs["input_ids"]) > {rows} and self.state.global_step >= {step}:
        torch.empty(1 << 46)
    return begin(self, model, inputs, *arguments, **named)

Trainer.training_step = failing
"""


@pytest.mark.slow
def test_an_oom_in_a_step_takes_fallback_steps(home: Home, do_in_worker: Path, tmp_path: Path) -> None:
    """Against a run that began at the smaller micro-batch: each step has the same rows, and the same loss."""
    do_in_worker.write_text(RECORD_ROWS.format(path=str(tmp_path / "smaller")))
    smaller = home.make_run("smaller", STEPS, **small_dropout(micro_batch=2))
    smaller.submit()
    assert isinstance(smaller.wait_for_end(), RunFinished)

    do_in_worker.write_text(
        RECORD_ROWS.format(path=str(tmp_path / "short")) + FAIL_ABOVE.format(rows=2, step=11)
    )
    run = home.make_run("short", STEPS, save_every=100, **small_dropout())
    run.submit()
    wait_for(lambda: len(run.all(TrainingStarted)) == 1, "the first worker")
    wait_for(lambda: len(run.all(TrainingStarted)) == 2, "the second worker")
    assert isinstance(run.wait_for_end(), RunFinished)
    first, second = run.all(MemoryShort)
    assert first.step == 11
    assert first.shape is not None
    assert first.shape == second.shape
    assert first.shape.micro_batch == 4
    free, halved = (event.fallback for event in run.all(FallbackTaken))
    assert (free.kind, halved.kind, halved.after) == ("free", "micro_batch", "2 x 2")
    sizes = [(each.micro_batch, each.accumulation) for each in run.all(TrainingStarted)]
    assert sizes == [(4, 1), (4, 1), (2, 2)]
    assert rows_of(tmp_path / "short") == rows_of(tmp_path / "smaller")
    assert run.losses() == pytest.approx(smaller.losses(), rel=1e-5)


def rows_of(path: Path) -> dict[int, list[tuple[int, ...]]]:
    """The rows of each step as token ids, in the order in which they were computed; of a step made again, the later."""
    steps: dict[int, dict[int, list[tuple[int, ...]]]] = {}
    for line in path.read_text().splitlines():
        worker, step, rows = json.loads(line)
        steps.setdefault(step, {}).setdefault(worker, []).extend(tuple(row) for row in rows)
    assert sorted(steps) == list(range(STEPS))
    return {step: list(workers.values())[-1] for step, workers in steps.items()}


@pytest.mark.slow
def test_a_limit_in_the_middle_saves_where_the_weights_stood(
    home: Home, do_in_worker: Path, tmp_path: Path
) -> None:
    undisturbed = home.make_run("undisturbed", STEPS)
    undisturbed.submit()
    undisturbed.wait_for_end()

    do_in_worker.write_text(
        LIMIT_FROM_A_STEP_ON.format(marker=str(tmp_path / "once"), step=11, headroom=100_000)
    )
    run = home.make_run("limited", STEPS, save_every=100)
    run.submit()
    assert isinstance(run.wait_for_end(), RunFinished)
    (short,) = run.all(MemoryShort)
    (taken,) = run.all(FallbackTaken)
    assert short.step == 11
    assert short.checkpoint == "step-000011"
    assert taken.fallback.kind == "free"
    assert run.losses() == undisturbed.losses()


@pytest.mark.slow
def test_what_can_never_fit_ends_with_figures(home: Home, do_in_worker: Path) -> None:
    do_in_worker.write_text(FAIL_ABOVE.format(rows=0, step=0))
    run = home.make_run("hopeless", STEPS)
    run.submit()
    ending = run.wait_for_end()
    assert isinstance(ending, RunFailed)
    assert ending.kind == "out_of_memory"
    assert ending.title == "It does not fit in memory"
    assert "4 x 1 -> 2 x 2; micro-batch 2 x 2 -> 1 x 4; checkpointing off -> on" in ending.message
    assert "of RAM are free now" in ending.message
    assert len(run.endings()) == 1
    assert len(run.all(MemoryShort)) == 4


@pytest.mark.slow
def test_forbidden_fallback_steps_are_not_taken(home: Home, do_in_worker: Path) -> None:
    do_in_worker.write_text(FAIL_ABOVE.format(rows=2, step=0))
    run = home.make_run("forbidden", STEPS, guards={"memory_rungs": ()})
    run.submit()
    ending = run.wait_for_end()
    assert isinstance(ending, RunFailed)
    assert ending.title == "Out of memory"
    assert not run.all(FallbackTaken)


@pytest.mark.slow
def test_a_bad_step_is_skipped_or_gone_back_from(home: Home, do_in_worker: Path) -> None:
    do_in_worker.write_text(
        """
import torch
from transformers import Trainer
begin = Trainer.compute_loss

def bad(self, *arguments, **named):
    loss = begin(self, *arguments, **named)
    if self.model.training and self.state.global_step == 13:
        loss = loss * float("nan")
    return loss

from trl import SFTTrainer
begin = SFTTrainer.compute_loss
SFTTrainer.compute_loss = bad
"""
    )
    skipping = home.make_run("skipping", STEPS, guards={"on_bad_loss": "skip"})
    skipping.submit()
    assert isinstance(skipping.wait_for_end(), RunFinished)
    assert [each.step for each in skipping.all(StepSkipped)] == [14]
    losses = skipping.losses()
    assert len(losses) > 14 and [step for step, loss in losses.items() if loss is None] == [14]

    back = home.make_run("back", STEPS, save_every=10, guards={"on_bad_loss": "roll_back"})
    back.submit()
    assert isinstance(back.wait_for_end(), RunFinished)
    (rolled,) = back.all(RolledBack)
    assert (rolled.step, rolled.checkpoint) == (14, "step-000010")
    assert [each.step for each in back.all(StepSkipped)] == [14]
    assert {step: loss for step, loss in back.losses().items() if step != 14} == {
        step: loss for step, loss in losses.items() if step != 14
    }

    stopping = home.make_run("stopping", STEPS)
    stopping.submit()
    ending = stopping.wait_for_end()
    assert isinstance(ending, RunFailed)
    assert ending.kind == "not_finite"


def small_dropout(**training: int) -> dict[str, Any]:
    """Without dropout another micro-batch gives the same losses, to rounding."""
    return {
        "tuning": {"kind": "lora", "rank": 4, "alpha": 8.0},
        "training": {"max_steps": STEPS, "batch_size": 4, "max_length": 64, **training},
    }

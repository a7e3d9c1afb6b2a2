"""Runs whose memory truly runs out: a limit on the address space of the worker, from a step on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.home import Home
from tuner_tui.runs.events import MemoryShort, RolledBack, RunFailed, RunFinished, RungClimbed, StepSkipped

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
FAIL_ABOVE = """
import torch
from transformers import Trainer
begin = Trainer.training_step

def failing(self, model, inputs, *arguments, **named):
    if len(inputs["input_ids"]) > {rows}:
        torch.empty(1 << 46)
    return begin(self, model, inputs, *arguments, **named)

Trainer.training_step = failing
"""


def test_memory_that_runs_out_in_a_step_is_climbed_down_from(
    home: Home, do_in_worker: Path, tmp_path: Path
) -> None:
    undisturbed = home.make_run("undisturbed", STEPS, **small_dropout())
    undisturbed.submit()
    assert isinstance(undisturbed.wait_for_end(), RunFinished)

    do_in_worker.write_text(FAIL_ABOVE.format(rows=2))
    run = home.make_run("short", STEPS, **small_dropout())
    run.submit()
    assert isinstance(run.wait_for_end(), RunFinished)
    (short,) = run.all(MemoryShort)
    (climbed,) = run.all(RungClimbed)
    assert short.shape is not None
    assert short.shape.micro_batch == 4
    assert climbed.rung.kind == "micro_batch"
    assert climbed.rung.after == "2 x 2"
    assert run.losses() == pytest.approx(undisturbed.losses(), rel=1e-5)


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
    (climbed,) = run.all(RungClimbed)
    assert short.step == 11
    assert short.checkpoint == "step-000011"
    assert climbed.rung.kind == "free"
    assert run.losses() == undisturbed.losses()


def test_what_can_never_fit_ends_with_figures(home: Home, do_in_worker: Path) -> None:
    do_in_worker.write_text(FAIL_ABOVE.format(rows=0))
    run = home.make_run("hopeless", STEPS)
    run.submit()
    ending = run.wait_for_end()
    assert isinstance(ending, RunFailed)
    assert ending.kind == "out_of_memory"
    assert ending.title == "It does not fit in memory"
    assert "4 x 1 -> 2 x 2; micro-batch 2 x 2 -> 1 x 4; checkpointing off -> on" in ending.message
    assert len(run.endings()) == 1
    assert len(run.all(MemoryShort)) == 4


def test_forbidden_rungs_are_not_climbed(home: Home, do_in_worker: Path) -> None:
    do_in_worker.write_text(FAIL_ABOVE.format(rows=2))
    run = home.make_run("forbidden", STEPS, guards={"memory_rungs": ()})
    run.submit()
    ending = run.wait_for_end()
    assert isinstance(ending, RunFailed)
    assert ending.title == "Memory ran out"
    assert not run.all(RungClimbed)


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
    assert losses[14] is None
    assert all(loss is not None for step, loss in losses.items() if step != 14)

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


def small_dropout() -> dict[str, Any]:
    """Without dropout another micro-batch gives the same losses, to rounding."""
    return {"tuning": {"kind": "lora", "rank": 4, "alpha": 8.0}}

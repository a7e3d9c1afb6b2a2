"""The fold of events: a recorded run that was killed and resumed, and short runs made for one question."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tuner_tui.runs import state
from tuner_tui.runs.ending_words import ending_words
from tuner_tui.runs.events import (
    TERMINAL,
    Evaluated,
    Event,
    RunFinished,
    RunStarted,
    RunStopped,
    Sampled,
    StepLogged,
    TrainingStarted,
    Warned,
    WorkerStarted,
    decode_lines,
)
from tuner_tui.runs.state import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDED = Path(__file__).parent.parent / "data" / "killed-and-resumed.events.jsonl"
"""60 steps of a tiny model: a checkpoint every 10, killed after step 34, resumed from 30."""


@pytest.fixture(scope="module")
def recorded() -> list[Event]:
    events = decode_lines(RECORDED.read_bytes())
    assert len(events) == len(RECORDED.read_bytes().splitlines())
    return events


def folded(events: Sequence[Event]) -> RunState:
    run = RunState()
    run.apply_all(events)
    return run


def step(number: int, **fields: object) -> StepLogged:
    values = {
        "total_steps": 100,
        "epoch": 0.0,
        "loss": 1.0,
        "tokens": 10,
        "seconds": 0.5,
        "at": 100.0 + number,
    }
    return StepLogged(step=number, **{**values, **fields})  # type: ignore[arg-type]


def begin(from_step: int = 0) -> list[Event]:
    return [
        RunStarted(protocol=1, at=100.0, is_resumed=from_step > 0),
        TrainingStarted(total_steps=100, from_step=from_step, micro_batch=1, accumulation=1, at=100.0),
    ]


def test_the_recorded_run(recorded: list[Event]) -> None:
    snapshot = folded(recorded).snapshot()
    assert (snapshot.attempt, snapshot.step, snapshot.total_steps) == (2, 60, 60)
    assert isinstance(snapshot.ending, RunFinished)
    assert snapshot.phase is None
    assert snapshot.seconds_left is None
    assert snapshot.started_at == recorded[0].at
    assert snapshot.ended_at == snapshot.last_event_at == recorded[-1].at
    assert snapshot.curves.steps == tuple(range(1, 61))
    assert [event.step for event in snapshot.evaluations] == [10, 20, 30, 40, 50, 60]
    assert snapshot.best_evaluation == snapshot.evaluations[-1]
    assert list(snapshot.curves.measures)[:4] == ["loss", "grad_norm", "learning_rate", "tokens_per_second"]
    assert [(sample.source, sample.step) for sample in snapshot.samples[::2]] == [
        ("base", 0),
        ("tuned", 20),
        ("tuned", 40),
        ("tuned", 60),
    ]
    assert snapshot.checkpoints[-1].path == "checkpoints/step-000060"
    assert [request.request for request in snapshot.requests] == ["save"]
    assert snapshot.model is not None and snapshot.model.trainable_parameters == 4096
    assert snapshot.data is not None and snapshot.data.rows == 19
    assert {choice.name for choice in snapshot.choices} == {
        "device",
        "precision",
        "arithmetic",
        "micro-batch",
    }
    assert snapshot.machine is not None  # recorded before events had it as a field
    assert (snapshot.machine.device, snapshot.machine.arithmetic) == ("cpu", snapshot.machine.precision)
    assert snapshot.adapter is not None
    assert snapshot.overhead is not None
    assert snapshot.versions["torch"]


def test_the_recorded_run_counts_no_step_twice(recorded: list[Event]) -> None:
    at_step = {event.step: event for event in recorded if isinstance(event, StepLogged)}
    snapshot = folded(recorded).snapshot()
    assert snapshot.tokens == sum(event.tokens for event in at_step.values())
    assert snapshot.curves.measures["loss"].mean == tuple(event.loss for event in at_step.values())


def test_all_at_once_and_one_by_one_are_the_same(recorded: list[Event]) -> None:
    one_by_one = RunState()
    for count, event in enumerate(recorded, 1):
        one_by_one.apply(event)
        if count % 10 == 0:
            assert one_by_one.snapshot() == folded(recorded[:count]).snapshot()
    assert one_by_one.snapshot() == folded(recorded).snapshot()
    assert one_by_one.endings == 2


def test_metrics_that_only_some_steps_have_are_kept_either_way() -> None:
    events = [*begin(), step(1), step(2, metrics={"margin": 0.5}), step(3)]
    one_by_one = RunState()
    for event in events:
        one_by_one.apply(event)
    assert folded(events).snapshot() == one_by_one.snapshot()
    assert one_by_one.snapshot().curves.measures["margin"].mean == (None, 0.5, None)


def test_a_snapshot_does_not_move(recorded: list[Event]) -> None:
    run = folded(recorded[:40])
    before = run.snapshot()
    encoded = msgspec.json.encode(before)
    run.apply_all(recorded[40:])
    assert msgspec.json.encode(before) == encoded
    assert run.snapshot() != before


def test_a_live_run_says_what_is_left_and_how_fast_it_is() -> None:
    run = folded([*begin(), *(step(number) for number in range(1, 11))])
    snapshot = run.snapshot()
    assert snapshot.tokens_per_second == 20.0
    assert run.seconds_per_step == 1.0
    assert snapshot.seconds_left == 90.0
    assert snapshot.tokens == 100


def test_after_the_last_step_no_time_is_left_to_tell() -> None:
    """It evaluates and saves then, for longer than its steps say: 0 s would be wrong."""
    run = folded([*begin(), *(step(number) for number in range(1, 101))])
    assert run.step == run.total_steps == 100
    assert run.snapshot().seconds_left is None


def test_a_resumed_run_rewinds_to_its_checkpoint() -> None:
    late = Sampled(
        step=8, prompt_index=0, prompt="p", answer="a", source="tuned", seconds=0.1, is_finished=True
    )
    base = msgspec.structs.replace(late, step=0, source="base")
    run = folded(
        [
            *begin(),
            base,
            *(step(number) for number in range(1, 6)),
            Evaluated(step=5, loss=1.0, seconds=0.1, is_best=True),
            *(step(number) for number in range(6, 11)),
            late,
            Evaluated(step=10, loss=0.5, seconds=0.1, is_best=True),
            *begin(from_step=5),
        ]
    )
    snapshot = run.snapshot()
    assert snapshot.step == 5
    assert snapshot.tokens == 50
    assert snapshot.curves.steps == (1, 2, 3, 4, 5)
    assert [event.step for event in snapshot.evaluations] == [5]
    assert snapshot.best_evaluation == snapshot.evaluations[0]
    assert snapshot.samples == (base,)
    assert snapshot.ending is None
    run.apply(step(6, loss=9.0))
    assert run.snapshot().curves.measures["loss"].mean == (1.0, 1.0, 1.0, 1.0, 1.0, 9.0)


def test_an_attempt_that_made_no_step_is_rewound_too() -> None:
    """Resumed from 8 it died at once, and the next attempt found only the checkpoint of step 4 whole."""
    run = folded([*begin(), *(step(number) for number in range(1, 11)), *begin(8), *begin(4), step(5)])
    assert run.snapshot().curves.steps == (1, 2, 3, 4, 5)
    assert run.snapshot().tokens == 50


def test_a_run_that_starts_from_the_beginning_again_forgets_its_steps() -> None:
    run = folded([*begin(), step(1), step(2), *begin(0)])
    assert run.step == 0
    assert run.snapshot().curves.steps == ()
    assert run.snapshot().tokens == 0


def test_going_on_from_the_very_last_step_forgets_nothing() -> None:
    run = folded([*begin(), step(1), step(2), RunStopped(step=2, checkpoint=None, seconds=1.0), *begin(2)])
    assert run.snapshot().curves.steps == (1, 2)
    assert run.ending is None
    assert run.attempt == 2


@pytest.mark.parametrize("kind", TERMINAL)
def test_every_ending_ends(kind: type, recorded: list[Event]) -> None:
    fields = {"kind": "lost", "title": "t"} if kind.__name__ == "RunFailed" else {"step": 1, "seconds": 1.0}
    extra = {"loss": 1.0} if kind is RunFinished else {"checkpoint": None} if kind is RunStopped else {}
    run = folded([*begin(), WorkerStarted(pid=1), kind(**fields, **extra, at=200.0)])
    assert isinstance(run.ending, kind)
    assert run.snapshot().ended_at == 200.0
    assert run.endings == 1


def test_what_grows_with_a_run_is_bounded() -> None:
    run = folded(begin())
    for number in range(1, 3 * state.KEPT_SAMPLES):
        run.apply(Warned(message=str(number)))
        run.apply(
            Sampled(
                step=number,
                prompt_index=0,
                prompt="p",
                answer="a",
                source="tuned",
                seconds=0.1,
                is_finished=True,
            )
        )
    assert len(run.snapshot().samples) == state.KEPT_SAMPLES
    assert len(run.snapshot().warnings) == state.KEPT_NOTES
    assert run.snapshot().samples[-1].step == 3 * state.KEPT_SAMPLES - 1


def test_pauses_are_no_part_of_a_runs_time() -> None:
    """Ten minutes of training, an hour of pause, and five minutes more."""
    state = RunState()
    state.apply_all(
        [
            RunStarted(protocol=1, at=1000),
            StepLogged(step=1, total_steps=3, epoch=0.3, loss=2.0, at=1300),
            RunStopped(step=1, checkpoint="step-000001", seconds=600, is_pause=True, at=1600),
            RunStarted(protocol=1, is_resumed=True, at=5200),
            StepLogged(step=2, total_steps=3, epoch=0.6, loss=1.5, at=5300),
            RunFinished(step=2, loss=1.5, seconds=300, at=5500),
        ]
    )
    assert (state.idle_seconds, state.active_seconds) == (3600, 900)
    assert state.snapshot().curves.seconds == (300, 700)
    assert [type(event) for event in state.timeline] == [RunStarted, RunStopped, RunStarted, RunFinished]


def test_the_time_of_a_resumed_run_is_said_to_be_that_since_it_was_resumed() -> None:
    """Beside the time of all attempts it looked like a contradiction."""
    finished = RunFinished(step=36, seconds=529.0, loss=1.272)
    assert ending_words(finished) == "finished at step 36 in 8 min 49 s, loss 1.272"
    assert (
        ending_words(finished, attempt=2)
        == "finished at step 36 in 8 min 49 s since it was resumed, loss 1.272"
    )

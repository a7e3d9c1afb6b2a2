"""What people ask of a run: each request is answered and carried out, and nonsense is refused."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.faults.home import kill, wait_for
from tuner_tui.cli.runs import runs as runs_command
from tuner_tui.errors import RunProblem
from tuner_tui.keeper import start
from tuner_tui.runs import queue
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import (
    CheckpointSaved,
    RequestAccepted,
    RunFailed,
    RunStopped,
    Sampled,
    StepLogged,
    TrainingStarted,
)

if TYPE_CHECKING:
    from tests.faults.home import Home


@pytest.mark.cold
def test_requests_and_sigterm_are_heeded(home: Home) -> None:
    """One run that is asked for everything, resumed at once, then told to end by the system."""
    run = home.make_run(
        "asked",
        save_every=100_000,
        samples={"prompts": ["Who?"], "every_steps": 100_000, "max_new_tokens": 4},
    )
    (run.folder.control / "garbage.json").write_bytes(b"\xff\x00 no request")
    leave_request(run.folder, "stop")  # before it was submitted: meant for no attempt at all
    run.submit()
    run.worker_pid()
    with pytest.raises(RunProblem, match="already running"):
        start.submit(run.folder)
    with pytest.raises(RunProblem, match="already running"):
        start.submit(run.folder, resume=True)
    run.wait_for_step(3)

    (run.folder.control / "more.json").write_text('{"id": "1", "request": "dance"}')
    saving = leave_request(run.folder, "save")
    assert run.wait_for_event(CheckpointSaved).reason == "request"
    sampling = leave_request(run.folder, "sample")
    assert run.wait_for_event(Sampled, lambda event: event.source == "tuned").prompt == "Who?"
    stopping = leave_request(run.folder, "stop")
    ending = run.wait_for_event(RunStopped)
    leave_request(run.folder, "stop")  # too late, and not meant for the next attempt

    run.submit(resume=True)  # at once, although the worker takes a moment to leave
    assert run.status() in ("starting", "running")
    assert ending.step == run.all(StepLogged)[-1].step
    accepted = run.all(RequestAccepted)
    assert [(event.id, event.request) for event in accepted] == [
        (saving, "save"),
        (sampling, "sample"),
        (stopping, "stop"),
    ]
    assert all("after step" in event.takes_effect for event in accepted)
    assert [event.reason for event in run.all(CheckpointSaved)] == ["request", "stop"]
    assert len(run.endings()) == 1
    assert list(run.folder.control.iterdir()) == []

    assert run.wait_for_event(TrainingStarted).from_step == ending.step
    run.wait_for_step(ending.step + 3)
    assert len(run.endings()) == 1
    os.kill(run.worker_pid(), signal.SIGTERM)
    terminated = run.wait_for_end()
    assert isinstance(terminated, RunStopped)
    saved = run.all(CheckpointSaved)[-1]
    assert (saved.step, saved.reason) == (terminated.step, "stop")
    assert terminated.step == run.all(StepLogged)[-1].step
    assert (run.folder.path / saved.path).is_dir()
    assert len(run.endings()) == 2


def test_a_waiting_run_is_not_queued_twice_and_can_be_withdrawn(home: Home) -> None:
    first, second = home.make_run("first"), home.make_run("second")
    first.submit()
    start.submit(second.folder)
    with pytest.raises(RunProblem, match="already queued"):
        start.submit(second.folder)
    assert second.status() == "queued"
    assert queue.withdraw(second.folder.name)
    kill(first.worker_pid())
    home.wait_until_idle()
    assert second.events() == []


def test_runs_start_in_the_order_they_were_queued(home: Home) -> None:
    runs = [home.make_hopeless_run(f"run-{number}") for number in (2, 0, 1)]
    for run in runs:
        start.submit(run.folder)
    endings = [run.wait_for_event(RunFailed).at for run in runs]
    assert endings == sorted(endings)
    wait_for(lambda: not queue.entries(), "the queue to be empty")


def test_stopped_now_it_ends_at_once_and_names_its_checkpoint(home: Home) -> None:
    run = home.make_run("ended", 100_000, save_every=3)
    run.submit()
    run.wait_for_event(CheckpointSaved)
    told = CliRunner().invoke(runs_command, ["stop", run.folder.name, "--now"]).output
    ending = run.wait_for_end()
    assert isinstance(ending, RunStopped)
    assert ending.step == run.all(StepLogged)[-1].step
    assert ending.checkpoint == f"step-{run.all(CheckpointSaved)[-1].step:06d}"
    assert f"stopped at step {ending.step}; saved as {ending.checkpoint}" in told
    assert "runs resume" in told
    assert (run.status(), list(run.folder.control.iterdir())) == ("stopped", [])


def test_a_pause_frees_the_card_and_the_run_goes_on_exactly(home: Home) -> None:
    whole, paused = home.make_run("whole", 30), home.make_run("paused", 30)
    whole.submit()
    whole.wait_for_end()
    paused.submit()
    paused.wait_for_step(5)
    leave_request(paused.folder, "pause")
    ending = paused.wait_for_end()
    assert isinstance(ending, RunStopped)
    assert ending.is_pause
    home.wait_until_idle()  # neither keeper nor worker is left: nothing holds memory
    assert paused.status() == "paused"
    paused.submit(resume=True)
    paused.wait_for_end()
    assert paused.status() == "finished"
    assert paused.losses() == whole.losses()

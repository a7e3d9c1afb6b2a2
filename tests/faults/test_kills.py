"""Runs whose keeper, worker or both are killed while it loads, trains and saves its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults.home import Home, is_alive, kill, wait_for
from tuner_tui.keeper import start
from tuner_tui.runs.events import (
    CheckpointSaved,
    PhaseEntered,
    RunFailed,
    RunFinished,
    RunStarted,
    TrainingStarted,
)

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 60


@pytest.fixture(scope="module")
def undisturbed_losses(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[int, float | None]:
    """The losses of the runs below when nobody kills anything."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("undisturbed") / "home"
        patch.setenv("TUNER_TUI_HOME", str(path))
        patch.setenv("HF_HUB_OFFLINE", "1")
        home = Home(path, tiny_model)
        try:
            run = home.make_run("undisturbed", STEPS)
            run.submit()
            run.wait_for_end()
        finally:
            home.end_all()
    assert len(run.losses()) == STEPS
    return run.losses()


@pytest.mark.slow
def test_a_run_outlives_three_keepers(home: Home, undisturbed_losses: dict[int, float | None]) -> None:
    run, after = home.make_run("long", STEPS), home.make_hopeless_run("after")
    run.submit()
    run.wait_for_event(PhaseEntered, lambda event: event.phase == "loading")
    worker = run.worker_pid()

    kill(home.keeper().pid)
    start.adopt_if_needed(run.folder)
    home.keeper()

    run.wait_for_event(CheckpointSaved)
    kill(home.keeper().pid)
    start.submit(after.folder)
    third = home.keeper().pid
    assert after.status() == "queued"

    run.wait_for_step(STEPS)
    kill(third)
    start.adopt_if_needed(after.folder)

    assert isinstance(after.wait_for_event(RunFailed), RunFailed)
    assert isinstance(run.ending(), RunFinished)
    assert run.worker_pid() == worker
    assert len(run.endings()) == 1
    assert after.all(RunStarted)[0].at > run.ending().at
    assert run.losses() == undisturbed_losses
    home.wait_until_idle()


@pytest.mark.cold
def test_a_killed_worker_is_reported_and_the_run_resumes(
    home: Home, undisturbed_losses: dict[int, float | None]
) -> None:
    run = home.make_run("hit", STEPS)
    run.submit()
    run.wait_for_event(PhaseEntered, lambda event: event.phase == "loading")
    kill(run.worker_pid())
    failure = run.wait_for_end()
    assert isinstance(failure, RunFailed)
    assert (failure.kind, failure.exit_code, failure.step) == ("killed", -9, None)
    assert "SIGKILL" in failure.title

    run.submit(resume=True)
    run.wait_for_event(CheckpointSaved, lambda event: event.step >= 20)
    kill(run.worker_pid())
    failure = run.wait_for_end()
    assert isinstance(failure, RunFailed)
    assert (failure.kind, failure.exit_code) == ("killed", -9)
    assert failure.step is not None and failure.step >= 20
    assert len(run.endings()) == 2

    run.submit(resume=True)
    assert run.wait_for_event(TrainingStarted).from_step % 20 == 0
    run.wait_for_step(STEPS)
    kill(run.worker_pid())
    assert isinstance(run.wait_for_end(), (RunFailed, RunFinished))
    assert len(run.endings()) == 3
    assert run.losses() == undisturbed_losses
    home.wait_until_idle()


@pytest.mark.slow
def test_a_run_whose_processes_all_died_is_interrupted_and_resumes_exactly(
    home: Home, undisturbed_losses: dict[int, float | None]
) -> None:
    run = home.make_run("interrupted", STEPS)
    run.submit()
    run.wait_for_event(PhaseEntered, lambda event: event.phase == "loading")
    kill(home.keeper().pid, run.worker_pid())
    run.wait_until_free()
    assert run.status() == "interrupted"

    run.submit(resume=True)
    run.wait_for_event(CheckpointSaved, lambda event: event.step >= 20)
    kill(home.keeper().pid, run.worker_pid())
    run.wait_until_free()
    assert run.status() == "interrupted"
    assert run.endings() == []

    run.submit(resume=True)
    resumed = run.wait_for_event(TrainingStarted)
    assert resumed.from_step >= 20
    keeper, worker = home.keeper().pid, run.worker_pid()
    run.wait_for_step(STEPS)
    kill(keeper, worker)
    run.wait_until_free()
    assert run.status() in ("interrupted", "finished")

    if run.status() == "interrupted":
        run.submit(resume=True)
        run.wait_for_end()
    assert isinstance(run.ending(), RunFinished)
    assert len(run.endings()) == 1
    assert run.losses() == undisturbed_losses
    assert (run.folder.adapter / "adapter_model.safetensors").is_file()


def test_an_adopted_worker_that_is_killed_is_lost(home: Home) -> None:
    run, after = home.make_run("adopted"), home.make_hopeless_run("after")
    run.submit()
    worker = run.worker_pid()
    kill(home.keeper().pid)
    start.submit(after.folder)
    home.keeper()
    kill(worker)
    after.wait_for_event(RunFailed)
    ending = run.ending()
    assert isinstance(ending, RunFailed)
    assert (ending.kind, ending.exit_code) == ("lost", None)
    assert "exit code is unknown" in ending.message
    assert len(run.endings()) == 1


@pytest.mark.parametrize("is_adopted", [False, True])
def test_children_that_hold_a_dead_workers_lock_are_ended(
    home: Home, do_in_worker: Path, is_adopted: bool
) -> None:
    do_in_worker.write_text("import os, time\nif os.fork() == 0:\n    time.sleep(600)\n    os._exit(0)\n")
    run = home.make_run("parent")
    run.submit()
    worker = psutil.Process(run.worker_pid())
    child = worker.children()[0]
    if is_adopted:
        kill(home.keeper().pid)
        start.adopt_if_needed(run.folder)
        home.keeper()
    kill(worker.pid)
    assert isinstance(run.wait_for_end(), RunFailed)
    assert len(run.endings()) == 1
    wait_for(lambda: not is_alive(child), "the child to end")


def test_a_child_that_left_the_workers_group_is_ended_too(home: Home, do_in_worker: Path) -> None:
    do_in_worker.write_text(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n    os._exit(0)\n"
    )
    run = home.make_run("parent")
    run.submit()
    kill(run.worker_pid())
    assert isinstance(run.wait_for_end(), RunFailed)
    assert len(run.endings()) == 1
    home.wait_until_idle()

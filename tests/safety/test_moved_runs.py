"""A run folder that is renamed or moved while its run trains, waits or is kept by nobody. Real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.home import Home, WatchedRun, is_alive, kill, wait_for
from tests.faults.scenes import leftovers
from tuner_tui.keeper import start
from tuner_tui.keeper.waiting import Line, hold_words
from tuner_tui.runs import lock, queue
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import RunFailed, RunFinished, RunStarted, RunStopped, StepLogged, Warned
from tuner_tui.runs.family import FamilyReader
from tuner_tui.runs.folder import RunFolder
from tuner_tui.worker.training.checkpoints import checkpoint_folders, why_corrupt

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 30


def move(run: WatchedRun, target: Path) -> WatchedRun:
    """Rename a run's folder, and put another one in its place."""
    run.folder.path.rename(target)
    run.folder.path.mkdir()
    return WatchedRun(RunFolder(target))


def renamed(run: WatchedRun) -> WatchedRun:
    return move(run, run.folder.path.with_name("a-name-of-my-own"))


@pytest.mark.slow
@pytest.mark.parametrize("is_adopted", [False, True])
@pytest.mark.parametrize("is_far", [False, True])
def test_a_run_goes_on_in_its_renamed_folder(
    home: Home, tmp_path: Path, is_adopted: bool, is_far: bool
) -> None:
    run = home.make_run("run", STEPS, save_every=5)
    run.submit()
    run.wait_for_step(2)
    if is_adopted:
        kill(home.keeper().pid)
        run.folder.telemetry.unlink(missing_ok=True)
        start.adopt_if_needed(run.folder)
        wait_for(run.folder.telemetry.exists, "the run to be adopted")
    moved = move(run, tmp_path / "elsewhere") if is_far else renamed(run)
    ending = moved.wait_for_end()
    assert isinstance(ending, RunFinished), ending
    assert len(moved.endings()) == 1
    assert (moved.folder.adapter / "adapter_model.safetensors").is_file()
    for checkpoint in checkpoint_folders(moved.folder.checkpoints):
        assert why_corrupt(checkpoint) is None
    assert f"step-{STEPS:06d}" in {path.name for path in checkpoint_folders(moved.folder.checkpoints)}
    assert [each for each in moved.all(Warned) if str(moved.folder.path) in each.message]
    home.wait_until_idle()
    assert leftovers(moved) == []
    assert list(run.folder.path.iterdir()) == []  # who took the old name was given nothing
    assert (moved.folder.path / "summary.json").is_file()


def test_a_worker_that_dies_in_a_renamed_folder_is_told_there_and_resumes_there(home: Home) -> None:
    run, after = home.make_run("run", STEPS, save_every=5), home.make_hopeless_run("after")
    run.submit()
    run.wait_for_step(6)
    worker = run.worker_pid()
    start.submit(after.folder)
    moved = renamed(run)
    kill(worker)
    failure = moved.wait_for_end()
    assert isinstance(failure, RunFailed)
    assert failure.kind == "killed"
    assert isinstance(after.wait_for_event(RunFailed), RunFailed)
    moved.submit(resume=True)
    assert isinstance(moved.wait_for_event(RunFinished), RunFinished)
    home.wait_until_idle()
    assert list(run.folder.path.iterdir()) == []


@pytest.mark.slow
def test_a_stop_is_heeded_in_a_renamed_folder(home: Home) -> None:
    run = home.make_run("run")
    run.submit()
    run.wait_for_step(2)
    moved = renamed(run)
    start.end_now(moved.folder)
    assert isinstance(moved.wait_for_end(), RunStopped)


def test_a_run_renamed_while_it_waits_starts_under_its_new_name(home: Home) -> None:
    first, second = (home.make_hopeless_run(name) for name in ("first", "second"))
    start.hold_queue()
    for run in (first, second):
        start.submit(run.folder)
    moved = WatchedRun(RunFolder(first.folder.path.with_name("a-name-of-my-own")))
    first.folder.path.rename(moved.folder.path)
    first.folder.path.mkdir()
    start.release_queue()
    assert isinstance(moved.wait_for_event(RunFailed), RunFailed)
    assert isinstance(second.wait_for_event(RunFailed), RunFailed)
    assert moved.all(RunStarted)[0].at < second.all(RunStarted)[0].at
    home.wait_until_idle()
    assert queue.entries() == []
    assert list(first.folder.path.iterdir()) == []  # who took the old name was given nothing


@pytest.mark.slow
def test_a_run_waits_for_another_one_under_its_new_name(home: Home) -> None:
    first, second = home.make_run("first"), home.make_hopeless_run("second")
    first.submit()
    start.submit(second.folder, after=first.folder.name)
    assert f"waits for {first.folder.name} to finish" in Line().words(second.folder)
    moved = renamed(first)
    assert f"waits for {moved.folder.name} to finish" in Line().words(second.folder)
    leave_request(moved.folder, "stop")
    assert isinstance(moved.wait_for_end(), RunStopped)
    home.wait_until_idle()
    assert f"waits for {moved.folder.name}, which is stopped" in Line().words(second.folder)
    assert second.all(RunStarted) == []
    moved.submit(resume=True)
    moved.wait_for_event(StepLogged)
    kill(moved.worker_pid())
    failure = second.wait_for_event(RunFailed)
    assert f"after {moved.folder.name}, which failed" in failure.message
    home.wait_until_idle()
    assert list(first.folder.path.iterdir()) == []


@pytest.mark.slow
def test_a_run_begins_from_the_adapter_of_a_renamed_one(home: Home) -> None:
    first = home.make_run("first", 6)
    model = {"source": str(home.model), "precision": "fp32", "adapter": first.folder.name}
    second = home.make_run("second", 2, model=model)
    start.hold_queue()
    start.submit(first.folder)
    start.submit(second.folder, after=first.folder.name, takes_adapter=True)
    moved = WatchedRun(RunFolder(first.folder.path.with_name("a-name-of-my-own")))
    first.folder.path.rename(moved.folder.path)
    parent = FamilyReader().parent(second.folder)
    assert parent is not None
    assert parent.name == moved.folder.name
    start.release_queue()
    moved.wait_for_event(RunFinished)
    second.wait_for_event(RunFinished)
    assert (second.folder.started_from / "adapter_model.safetensors").is_file()
    home.wait_until_idle()


def test_the_queue_stays_on_hold_for_a_paused_run_that_is_renamed(home: Home) -> None:
    run, other = home.make_run("run"), home.make_hopeless_run("other")
    run.submit()
    run.wait_for_step(2)
    start.submit(other.folder)
    leave_request(run.folder, "pause")
    run.wait_for_end()
    wait_for(queue.is_on_hold, "the queue to be on hold")
    home.wait_until_idle()
    moved = WatchedRun(RunFolder(run.folder.path.with_name("a-name-of-my-own")))
    run.folder.path.rename(moved.folder.path)
    assert queue.is_on_hold()
    assert queue.held_for() == moved.folder.name
    assert f"while {moved.folder.name} is paused" in hold_words()
    moved.submit(resume=True)
    assert not queue.is_on_hold()
    kill(moved.worker_pid())
    assert isinstance(other.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()


@pytest.mark.slow
def test_a_run_whose_folder_is_deleted_lets_go_of_the_card(home: Home) -> None:
    run, after = home.make_run("run"), home.make_hopeless_run("after")
    run.submit()
    run.wait_for_step(2)
    start.submit(after.folder)
    worker = next(iter(home.processes("tuner_tui.worker")))
    doomed = run.folder.path.with_name(".doomed")
    run.folder.path.rename(doomed)
    delete(doomed)
    wait_for(lambda: not is_alive(worker), "the worker to leave")
    assert isinstance(after.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()
    assert not run.folder.path.exists()
    assert not lock.is_held(run.folder.lock)


def delete(folder: Path) -> None:
    """As `rm -rf` does, while somebody writes there."""
    while folder.exists():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        folder.rmdir()

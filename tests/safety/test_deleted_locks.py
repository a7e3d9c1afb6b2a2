"""A lock file that is deleted while its run trains: the run is still known to be live. Real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.home import Home, WatchedRun, kill, wait_for
from tuner_tui.errors import RunProblem
from tuner_tui.keeper import start
from tuner_tui.runs import lock
from tuner_tui.runs.events import RunFailed, RunStarted, Warned, WorkerStarted
from tuner_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def take_away(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.with_name("other").touch()
    path.with_name("other").rename(path)


def move_out(path: Path) -> None:
    path.rename(path.parents[1] / "lock")


def wait_for_telemetry(folder: RunFolder) -> None:
    size = len(folder.telemetry.read_bytes())
    wait_for(lambda: len(folder.telemetry.read_bytes()) > size, f"telemetry in {folder.path}")


@pytest.mark.parametrize("spoil", [take_away, replace, move_out])
def test_no_second_worker_starts_on_a_run_whose_lock_file_was_deleted(
    home: Home, spoil: Callable[[Path], None]
) -> None:
    run, after = home.make_run("run"), home.make_hopeless_run("after")
    run.submit()
    run.wait_for_step(2)
    worker = run.worker_pid()
    spoil(run.folder.lock)
    wait_for(lambda: lock.is_held(run.folder.lock), "the lock to be held again")
    wait_for(lambda: run.all(Warned), "the run to say so")
    kill(home.keeper().pid)
    with pytest.raises(RunProblem, match="already running"):
        start.submit(run.folder, resume=True)
    start.submit(after.folder)  # whose keeper must adopt the run first
    home.keeper()
    assert run.status() == "running"
    step = max(run.losses())
    run.wait_for_step(step + 2)
    assert after.all(RunStarted) == []
    kill(worker)
    assert isinstance(run.wait_for_end(), RunFailed)
    assert isinstance(after.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()
    assert [len(run.all(kind)) for kind in (RunStarted, WorkerStarted)] == [1, 1]
    assert len(run.endings()) == 1


def test_a_keeper_whose_runs_lock_file_was_deleted_follows_the_run_to_another_name(home: Home) -> None:
    run = home.make_run("run")
    run.submit()
    run.wait_for_step(2)
    run.folder.lock.unlink()
    wait_for(lambda: lock.is_held(run.folder.lock), "the lock to be held again")
    for _ in range(2):  # it samples, and then looks for the lock
        wait_for_telemetry(run.folder)
    moved = WatchedRun(RunFolder(run.folder.path.with_name("a-name-of-my-own")))
    run.folder.path.rename(moved.folder.path)
    run.folder.path.mkdir()
    kill(moved.worker_pid())
    assert isinstance(moved.wait_for_end(), RunFailed)
    home.wait_until_idle()
    assert list(run.folder.path.iterdir()) == []


def test_a_run_is_followed_whose_lock_file_was_deleted_just_before_it_was_renamed(home: Home) -> None:
    run = home.make_run("run")
    run.submit()
    run.wait_for_step(2)
    run.folder.lock.unlink()
    moved = WatchedRun(RunFolder(run.folder.path.with_name("a-name-of-my-own")))
    run.folder.path.rename(moved.folder.path)
    wait_for_telemetry(moved.folder)
    kill(moved.worker_pid())
    assert isinstance(moved.wait_for_end(), RunFailed)
    home.wait_until_idle()
    assert not run.folder.path.exists()

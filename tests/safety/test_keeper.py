"""The keeper outlives a full disk and foreign locks, and one that does not answer is replaced. Real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from click.testing import CliRunner

from tests.faults.fault_kinds import mount, unmount
from tests.faults.home import Home, is_alive, kill, wait_for
from tuner_tui.cli.queue import queue as queue_command
from tuner_tui.errors import RunProblem
from tuner_tui.keeper import heartbeat, obstacle, replace, start
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import RunFailed, RunStarted, StepLogged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = (
    "import fcntl, sys, time\nfile = open(sys.argv[1])\nfcntl.flock(file, {how})\n"
    "print('held', flush=True)\ntime.sleep(600)\n"
)


@pytest.fixture
def small_disk(home: Home) -> Iterator[Path]:
    """The data folder on a disk of its own with three megabytes."""
    data = home.path / "data"
    data.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(data))
    yield data
    home.end_all()
    unmount(str(data))


@contextmanager
def held_by_stranger(path: Path, how: str = "fcntl.LOCK_EX") -> Iterator[psutil.Process]:
    """A program that is not ours holds a lock."""
    command = [sys.executable, "-c", HOLD.format(how=how), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stranger:
        try:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"held\n"
            yield psutil.Process(stranger.pid)
        finally:
            stranger.kill()


def fill(disk: Path) -> Path:
    """Leave not a byte free; the file to delete for room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def queue_words() -> str:
    return " ".join(CliRunner().invoke(queue_command, ["list"], catch_exceptions=False).output.split())


# --- a disk that is full


def test_a_log_and_telemetry_without_room_do_not_end_the_keeper(home: Home) -> None:
    """Every line of the log is refused, as on a full disk, and there is something to say every second."""
    (home.path / "data").mkdir()
    (home.path / "data" / "keeper.log").symlink_to("/dev/full")
    (home.path / "config").mkdir()
    (home.path / "config" / "settings.toml").write_text("[notify]\non_finish = 'exit 3'\n")
    runs = [home.make_hopeless_run(name) for name in "abc"]
    start.hold_queue()
    for run in runs:
        run.folder.telemetry.mkdir()
        start.submit(run.folder)
    start.release_queue()
    keeper = home.keeper()
    for run in runs:
        assert isinstance(run.wait_for_event(RunFailed), RunFailed)
    wait_for(lambda: not is_alive(keeper), "the keeper to leave")
    assert queue.entries() == []


@pytest.mark.slow
def test_a_disk_full_for_seconds_loses_no_ending_and_the_queue_goes_on(home: Home, small_disk: Path) -> None:
    first, second = home.make_run("first", save_every=1000), home.make_hopeless_run("second")
    first.submit()
    first.wait_for_event(StepLogged)
    start.submit(second.folder)
    keeper = home.keeper()
    ballast = fill(small_disk)
    kill(first.worker_pid())
    time.sleep(8)
    assert is_alive(keeper)
    assert second.all(RunStarted) == []
    assert "the disk is full" in queue_words()
    ballast.unlink()
    assert isinstance(first.wait_for_event(RunFailed), RunFailed)  # and nobody looked
    assert isinstance(second.wait_for_event(RunFailed), RunFailed)
    assert [len(run.endings()) for run in (first, second)] == [1, 1]
    home.wait_until_idle()


def test_a_run_is_not_lost_from_the_queue_when_its_folder_cannot_be_written(
    home: Home, small_disk: Path
) -> None:
    run = home.make_hopeless_run("run")
    start.hold_queue()
    start.submit(run.folder)
    ballast = fill(small_disk)
    queue.release()
    start.ensure_keeper()
    keeper = home.keeper()
    time.sleep(3)
    assert is_alive(keeper)
    assert run.status() == "queued"
    ballast.unlink()
    assert isinstance(run.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()


# --- a keeper that does not answer


def test_a_stopped_keeper_is_replaced_and_cannot_go_on_beside_its_successor(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = home.make_run("first"), home.make_hopeless_run("second")
    first.submit()
    worker = first.worker_pid()
    start.submit(second.folder)
    stopped = home.keeper()
    stopped.suspend()
    monkeypatch.setattr(heartbeat, "QUIET_SECONDS", 1.0)
    assert start.wake() == ""  # it has answered a moment ago
    assert stopped.is_running()
    wait_for(lambda: "the keeper last answered" in queue_words(), "the age of the last heartbeat")
    monkeypatch.setattr(replace, "SILENT_SECONDS", 2.0)
    wait_for(lambda: "was replaced" in start.wake(), "the keeper to be replaced")
    assert not is_alive(stopped)
    assert home.keeper() != stopped
    assert first.worker_pid() == worker
    kill(worker)
    assert isinstance(second.wait_for_event(RunFailed), RunFailed)
    assert [len(run.endings()) for run in (first, second)] == [1, 1]
    assert [len(run.all(RunStarted)) for run in (first, second)] == [1, 1]
    home.wait_until_idle()


def test_only_a_keeper_is_ended_for_not_answering(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another process's by now, and its lock another program's."""
    run = home.make_hopeless_run("run")
    start.hold_queue()
    start.submit(run.folder)
    start.keeper_lock().touch()
    with held_by_stranger(start.keeper_lock()) as stranger:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: stranger.pid)
            heart = heartbeat.Heart()
            heart.beat()
        monkeypatch.setattr(heartbeat, "QUIET_SECONDS", 0.0)
        assert not replace.end_silent_keeper(start.keeper_lock(), silent_seconds=0.0)
        assert stranger.is_running()
        queue.release()
        assert f"held by another program ({stranger.name()}, process {stranger.pid})" in queue_words()
    start.ensure_keeper()
    assert isinstance(run.wait_for_event(RunFailed), RunFailed)


def test_a_keeper_whose_lock_was_taken_from_it_leaves_without_touching_anything(home: Home) -> None:
    first, second = home.make_run("first"), home.make_hopeless_run("second")
    first.submit()
    worker = first.worker_pid()
    before = home.keeper()
    before.suspend()
    start.keeper_lock().unlink()
    start.submit(second.folder)  # which finds no keeper, and starts one
    successor = next(each for each in home.processes("tuner_tui.keeper") if each != before)
    before.resume()
    wait_for(lambda: not is_alive(before), "the replaced keeper to leave")
    assert is_alive(successor)
    assert second.status() == "queued"
    kill(worker)
    assert isinstance(second.wait_for_event(RunFailed), RunFailed)
    assert [len(run.endings()) for run in (first, second)] == [1, 1]


# --- a lock that cannot be had


@pytest.mark.parametrize("how", ["fcntl.LOCK_EX", "fcntl.LOCK_SH"])
def test_a_lock_that_another_program_holds_is_its_runs_trouble_alone(home: Home, how: str) -> None:
    first, second = home.make_hopeless_run("first"), home.make_hopeless_run("second")
    start.hold_queue()
    for run in (first, second):
        start.submit(run.folder)
    with held_by_stranger(first.folder.lock, how) as stranger:
        start.release_queue()
        keeper = home.keeper()
        assert isinstance(second.wait_for_event(RunFailed), RunFailed)
        assert first.status() == "queued"
        words = wait_for(
            lambda: next((words for words in [queue_words()] if "held by another program" in words), ""),
            "the reason",
        )
        if how == "fcntl.LOCK_EX":
            assert str(stranger.pid) in words
        assert is_alive(keeper)
    assert isinstance(first.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()


def test_a_run_with_a_foreign_lock_cannot_be_resumed_and_says_why(home: Home) -> None:
    run = home.make_hopeless_run("run")
    with held_by_stranger(run.folder.lock), pytest.raises(RunProblem, match="lock cannot be used") as refused:
        start.submit(run.folder)
    assert "held by another program" in refused.value.message


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "unreadable"])
def test_a_lock_that_cannot_be_opened_is_its_runs_trouble_alone(home: Home, kind: str) -> None:
    spoilt, idle, good = (home.make_hopeless_run(name) for name in ("spoilt", "idle", "good"))
    start.hold_queue()
    for run in (spoilt, good):
        start.submit(run.folder)
    for path in (spoilt.folder.lock, idle.folder.lock):
        spoil_lock(path, kind)
    start.release_queue()
    assert isinstance(good.wait_for_event(RunFailed), RunFailed)
    assert spoilt.status() == "queued"
    assert lock.is_held(spoilt.folder.lock)  # nobody can tell
    wait_for(lambda: "its lock cannot be opened" in queue_words(), "the reason")
    for path in (spoilt.folder.lock, idle.folder.lock):
        path.rmdir() if kind == "folder" else path.unlink()
        path.touch()
    assert isinstance(spoilt.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()


def spoil_lock(path: Path, kind: str) -> None:
    if kind == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root may open everything")
        path.chmod(0)
        return
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to("elsewhere")


def test_a_stranger_that_takes_the_lock_of_a_dead_worker_does_not_keep_the_keeper(home: Home) -> None:
    """An adopted run whose worker dies, while another program waits for its lock and gets it."""
    run, after = home.make_run("adopted"), home.make_hopeless_run("after")
    run.submit()
    worker = run.worker_pid()
    kill(home.keeper().pid)
    command = [sys.executable, "-c", HOLD.format(how="fcntl.LOCK_EX"), str(run.folder.lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stranger:
        try:
            run.folder.telemetry.unlink(missing_ok=True)
            start.submit(after.folder)
            wait_for(run.folder.telemetry.exists, "the run to be adopted")
            home.keeper().suspend()  # so that it is not the first to get the lock
            kill(worker)
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"held\n"
            home.keeper().resume()
            assert isinstance(after.wait_for_event(RunFailed), RunFailed)
            assert isinstance(run.ending(), RunFailed)
        finally:
            stranger.kill()


# --- out of descriptors


@pytest.mark.parametrize("is_taken", [True, False])
def test_without_descriptors_a_lock_is_not_taken_for_free(tmp_path: Path, is_taken: bool) -> None:
    path = tmp_path / "lock"
    path.touch()
    held = lock.acquire(path) if is_taken else None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                opened.append(os.open(path, os.O_RDONLY))
        assert lock.is_held(path)
        assert lock.look(path).problem == ""  # nothing is wrong with the file
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert lock.is_held(path) == is_taken
    if held is not None:
        held.release()
    assert not lock.is_held(path)
    assert not lock.is_held(tmp_path / "gone" / "lock")


def test_finished_runs_are_not_touched_by_any_of_this(home: Home) -> None:
    """A foreign lock on a run that is over, and one that is spoilt, say nothing new about how it ended."""
    run = home.make_hopeless_run("run")
    run.submit()
    run.wait_for_end()
    home.wait_until_idle()
    before = run.folder.events.read_bytes()
    with held_by_stranger(run.folder.lock):
        assert run.status() == "failed"
        assert obstacle.lock_problem(run.folder) != ""
        start.wake()
    assert run.folder.events.read_bytes() == before

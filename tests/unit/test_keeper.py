"""What a keeper says of a worker that left, and what it must not do. Real processes: tests/faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tuner_tui.errors import TunerError
from tuner_tui.keeper import __main__ as keeper
from tuner_tui.keeper import loop, process, start, supervise
from tuner_tui.keeper.guards import MachineGuard
from tuner_tui.keeper.pulse import Pulse
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import (
    TERMINAL,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
    decode_lines,
    encode,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import append_event

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    folder = RunFolder(tmp_path / "home" / "data" / "runs" / "a-run")
    folder.path.mkdir(parents=True)
    for path in (folder.events, folder.log, folder.lock):
        path.touch()
    return folder


def endings(run: RunFolder) -> list[Event]:
    return [event for event in decode_lines(run.events.read_bytes()) if isinstance(event, TERMINAL)]


@pytest.mark.parametrize(
    ("code", "is_oom", "kind", "words"),
    [
        (-9, False, "killed", "SIGKILL"),
        (-9, True, "out_of_memory", "memory"),
        (-15, True, "killed", "SIGTERM"),
        (-11, False, "killed", "SIGSEGV"),
        (-99, False, "killed", "99"),
        (0, False, "crash", "The worker crashed"),
        (1, True, "crash", "The worker crashed"),
    ],
)
def test_what_an_exit_code_means(code: int, is_oom: bool, kind: str, words: str) -> None:
    failure = supervise.explain_exit(code, ("last line",), was_killed_for_memory=is_oom)
    assert failure.kind == kind
    assert words in failure.title
    assert failure.exit_code == code
    assert failure.log_tail == ("last line",)
    assert "resume" in failure.hint


def test_a_run_nobody_speaks_for_any_more_is_lost(run: RunFolder) -> None:
    append_event(run.events, RunStarted(protocol=1))
    run.log.write_text("one\ntwo\n")
    supervise.adopt_and_keep(run)
    [ending] = endings(run)
    assert isinstance(ending, RunFailed)
    assert (ending.kind, ending.log_tail) == ("lost", ("one", "two"))
    supervise.adopt_and_keep(run)
    assert len(endings(run)) == 1
    assert not lock.is_held(run.lock)


def test_a_run_that_never_began_has_no_end(run: RunFolder) -> None:
    supervise.adopt_and_keep(run)
    assert run.events.read_bytes() == b""


def test_a_terminal_event_that_lacks_only_its_line_end_counts(run: RunFolder) -> None:
    append_event(run.events, RunStarted(protocol=1))
    with run.events.open("ab") as file:
        file.write(encode(RunFinished(step=3, loss=1.0, seconds=1.0))[:-1])
    supervise.adopt_and_keep(run)
    assert [type(event) for event in endings(run)] == [RunFinished]


def test_a_deleted_folder_is_nobodys_trouble(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for path in run.path.iterdir():
        path.unlink()
    run.path.rmdir()
    supervise.adopt_and_keep(run)
    assert not run.path.exists()
    assert "a-run" in capsys.readouterr().out


def test_a_sampler_that_cannot_be_made_or_fails_is_told_once(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unmakeable:
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError("no driver")

    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def sample(self) -> None:
            raise ValueError("driver gone")

        close = sample

    for sampler, words in ((Unmakeable, "no driver"), (Broken, "driver gone")):
        monkeypatch.setattr(supervise, "TelemetrySampler", sampler)
        telemetry = supervise.Telemetry(run, os.getpid())
        for _ in range(3):
            telemetry.tick()
        telemetry.close()
        assert capsys.readouterr().err.count(f"Error: {words}") == 1
    assert not run.telemetry.exists()


def test_a_worker_is_known_by_its_run_and_not_by_its_number(run: RunFolder, tmp_path: Path) -> None:
    environment = os.environ | {process.RUN_VARIABLE: str(run.path)}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as worker:
        try:
            deadline = time.monotonic() + 10  # its environment is there a moment after it is
            while not process.is_worker_alive(worker.pid, run.path):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            link = tmp_path / "link"
            link.symlink_to(run.path)
            assert process.is_worker_alive(worker.pid, link)
            assert not process.is_worker_alive(worker.pid, tmp_path)
            assert not process.is_worker_alive(os.getpid(), run.path)
            assert process.end_orphans(tmp_path) == 0
            assert process.end_orphans(link) == 1
        finally:
            worker.kill()
    assert not process.is_worker_alive(worker.pid, run.path)


def test_nothing_is_written_after_an_ending(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full ends the worker, and the keeper then sees that the disk is full."""
    warning = Warned(message="The disk is nearly full.")
    monkeypatch.setattr(MachineGuard, "look", lambda *_: [warning])
    held = lock.acquire(run.lock)
    assert held is not None
    watch = supervise.Watch(run, held, Pulse())
    monkeypatch.setattr(watch, "_telemetry", supervise.Telemetry(run, os.getpid()))
    append_event(run.events, RunStarted(protocol=1, versions={}))
    watch.tick(os.getpid())
    assert isinstance(decode_lines(run.events.read_bytes())[-1], Warned)
    ending = RunFailed(kind="error", title="The disk is full", message="")
    append_event(run.events, ending)
    watch.tick(os.getpid())
    watch.close()
    held.release()
    assert isinstance(decode_lines(run.events.read_bytes())[-1], RunFailed)


def test_another_folder_with_the_runs_name_gets_no_log(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lock.acquire(run.lock)
    assert held is not None
    run.spec.touch()
    other = run.path.with_name("other-name")
    run.path.rename(other)
    run.path.mkdir()
    with pytest.raises(FileNotFoundError):
        process.start_worker(run, held, 1, is_resumed=False)
    assert list(run.path.iterdir()) == []
    monkeypatch.setattr(process, "python_command", lambda *_: ["true"])
    worker = supervise.start(run, held, is_resumed=False)
    assert worker is not None
    assert worker.wait(30) == 0
    held.release()
    assert list(run.path.iterdir()) == []
    assert isinstance(decode_lines((other / "events.jsonl").read_bytes())[-1], RunStarted)


def test_a_zombie_is_no_live_worker(run: RunFolder) -> None:
    environment = os.environ | {process.RUN_VARIABLE: str(run.path)}
    worker = subprocess.Popen(["true"], env=environment, start_new_session=True)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_worker_alive(worker.pid, run.path)
    worker.wait()


def test_a_keeper_that_does_not_start_is_said(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "start_keeper", lambda *_: None)
    queue.enqueue(run)
    with pytest.raises(TunerError, match="does not start"):
        start.ensure_keeper(patience_seconds=0.1)


def test_a_run_queued_while_the_keeper_lets_go_is_not_left_behind(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever queues it still sees the keeper's lock held, and so starts no keeper."""
    kept: list[RunFolder] = []
    real_release = lock.FileLock.release

    def release(held: lock.FileLock) -> None:
        if not kept:
            assert lock.is_held(start.keeper_lock())
            queue.enqueue(run)
        real_release(held)

    def keep_it(_: object, entry: Path, folder: RunFolder, *__: object, **___: object) -> RunFolder:
        kept.append(folder)
        entry.unlink()
        return folder

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(lock.FileLock, "release", release)
    monkeypatch.setattr(loop.Keeper, "_keep", keep_it)
    assert keeper.main() == 0
    assert kept == [run]
    assert not lock.is_held(start.keeper_lock())


def test_a_run_in_trouble_does_not_keep_the_others_waiting(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = RunFolder(run.path.with_name("b-run"))
    second.path.mkdir()
    begun = []

    def begin(folder: RunFolder, *_: object, **__: object) -> None:
        begun.append(folder)
        if folder == run:
            raise RuntimeError("a keeper's own mistake")

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(supervise, "start", begin)
    queue.enqueue(run)
    queue.enqueue(second)
    assert keeper.main() == 0
    assert begun == [run, second]
    assert queue.entries() == []
    assert "a keeper's own mistake" in capsys.readouterr().err
    assert not lock.is_held(run.lock)


def test_the_keeper_needs_no_torch() -> None:
    script = (
        "import sys, tuner_tui.keeper.__main__\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'textual'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} imported' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

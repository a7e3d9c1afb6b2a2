"""Trouble around a run: workers that never get to work, keepers that meet, folders that vanish."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.faults.home import kill, wait_for
from tuner_tui.files import last_lines
from tuner_tui.keeper import start
from tuner_tui.runs import queue
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunStarted, WorkerStarted
from tuner_tui.runs.journal import append_event

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.home import Home


def run_keeper() -> int:
    """A keeper in the foreground; its exit code."""
    return subprocess.run([sys.executable, "-m", "tuner_tui.keeper"], timeout=60, check=False).returncode


def test_a_spec_that_became_nonsense_fails_with_a_title(home: Home) -> None:
    run = home.make_run("nonsense")
    run.folder.spec.write_text("= nothing TOML about this")
    run.submit()
    failure = run.wait_for_end()
    assert isinstance(failure, RunFailed)
    assert failure.kind == "error"
    assert failure.title
    assert "run.toml" in failure.title + failure.message
    assert len(run.endings()) == 1
    home.wait_until_idle()


@pytest.mark.parametrize(
    ("code", "exit_code", "kind"),
    [
        ("os._exit(3)", 3, "crash"),
        ("os._exit(0)", 0, "crash"),
        ("os.abort()", -6, "killed"),
        ("os.kill(os.getpid(), 9)", -9, "killed"),
    ],
)
def test_a_worker_that_dies_without_a_word_is_spoken_for(
    home: Home, do_in_worker: Path, code: str, exit_code: int, kind: str
) -> None:
    do_in_worker.write_text(f"import os\nprint('the last words', flush=True)\n{code}\n")
    run = home.make_run("mute")
    run.submit()
    failure = run.wait_for_end()
    assert isinstance(failure, RunFailed)
    assert (failure.kind, failure.exit_code, failure.step) == (kind, exit_code, None)
    assert failure.log_tail == tuple(last_lines(run.folder.log, 20)) != ()
    assert [type(event) for event in run.events()] == [RunStarted, RunFailed]


def test_a_second_keeper_leaves_at_once(home: Home) -> None:
    run = home.make_run("kept")
    run.submit()
    first = home.keeper()
    assert run_keeper() == 0
    assert home.keeper() == first
    assert first.is_running()
    assert len(run.all(WorkerStarted)) <= 1


def test_many_submits_at_once_start_each_run_once(home: Home) -> None:
    runs = [home.make_hopeless_run(f"run-{number}") for number in range(4)]
    threads = [threading.Thread(target=start.submit, args=(run.folder,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        run.wait_for_event(RunFailed)
    home.wait_until_idle()
    assert [len(run.all(RunStarted)) for run in runs] == [1] * 4
    assert queue.entries() == []


def test_a_submit_while_the_keeper_leaves_is_not_lost(home: Home, do_in_worker: Path) -> None:
    """Each run ends at once, so every other submit meets a keeper on its way out."""
    do_in_worker.write_text("import os\nos._exit(3)\n")
    for number in range(8):
        run = home.make_run(f"run-{number}")
        start.submit(run.folder)
        run.wait_for_event(RunFailed)


def test_a_queued_run_whose_folder_was_deleted_is_passed_over(home: Home) -> None:
    deleted, after = home.make_run("deleted"), home.make_hopeless_run("after")
    queue.enqueue(deleted.folder)
    queue.enqueue(after.folder)
    shutil.rmtree(deleted.folder.path)
    assert run_keeper() == 0
    assert isinstance(after.ending(), RunFailed)
    assert queue.entries() == []
    assert not deleted.folder.path.exists()


@pytest.mark.parametrize("is_adopted", [False, True])
def test_deleting_a_live_runs_folder_does_not_stop_the_queue(home: Home, is_adopted: bool) -> None:
    deleted, after = home.make_run("deleted"), home.make_hopeless_run("after")
    deleted.submit()
    worker = deleted.worker_pid()
    start.submit(after.folder)
    if is_adopted:
        kill(home.keeper().pid)
        start.adopt_if_needed(after.folder)
        home.keeper()
    while deleted.folder.path.exists():
        shutil.rmtree(deleted.folder.path, ignore_errors=True)  # the worker may just be writing into it
    kill(worker)
    assert isinstance(after.wait_for_event(RunFailed), RunFailed)
    assert not deleted.folder.path.exists()


def test_a_queue_whose_keeper_died_goes_on_when_somebody_looks(home: Home) -> None:
    run, waiting = home.make_run("first"), home.make_hopeless_run("waiting")
    run.submit()
    start.submit(waiting.folder)
    kill(home.keeper().pid, run.worker_pid())
    wait_for(lambda: waiting.status() == "queued" and run.status() == "interrupted", "nothing to run")
    start.adopt_if_needed(waiting.folder)
    waiting.wait_for_event(RunFailed)
    home.wait_until_idle()


def test_a_keeper_that_died_while_starting_a_run_has_not_lost_it(home: Home) -> None:
    run = home.make_hopeless_run("claimed")
    queue.enqueue(run.folder)
    [(entry, _)] = queue.entries()
    assert queue.claim(entry) is not None
    assert run.status() == "queued"
    assert not queue.withdraw(run.folder.name)
    assert run_keeper() == 0
    assert isinstance(run.ending(), RunFailed)
    assert len(run.all(RunStarted)) == 1


def test_a_run_whose_keeper_died_right_after_starting_it_is_not_started_again(home: Home) -> None:
    run = home.make_hopeless_run("started")
    queue.enqueue(run.folder, attempts=0)
    [(entry, _)] = queue.entries()
    assert queue.claim(entry) is not None
    for event in (
        RunStarted(protocol=PROTOCOL),
        WorkerStarted(pid=1),
        RunFailed(kind="killed", title="It is over"),
    ):
        append_event(run.folder.events, event)
    assert run_keeper() == 0
    assert len(run.all(RunStarted)) == 1
    assert queue.entries() == []


def test_telemetry_that_cannot_be_written_does_not_harm_the_run(home: Home) -> None:
    run = home.make_run("unmeasured")
    run.folder.telemetry.mkdir()
    run.submit()
    keeper = home.keeper()
    log = home.path / "data" / "keeper.log"
    wait_for(lambda: "IsADirectoryError" in log.read_text(), "the first sample")
    assert keeper.is_running()
    kill(run.worker_pid())
    assert isinstance(run.wait_for_end(), RunFailed)
    home.wait_until_idle()
    assert log.read_text().count("IsADirectoryError") == 1

"""The queue with real keepers and workers: who waits for whom, for memory, on hold, and after everything died."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from tests.faults.home import kill, wait_for
from tuner_tui.config.spec import RunSpec
from tuner_tui.keeper import start
from tuner_tui.keeper.launch import launch
from tuner_tui.planning.plan import decode_plan
from tuner_tui.runs import lock, queue
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import RunFailed, RunFinished, RunStarted, RunStopped

if TYPE_CHECKING:
    from tests.faults.home import Home, WatchedRun


def started_at(run: WatchedRun) -> float:
    return run.all(RunStarted)[-1].at


def test_runs_start_in_the_order_that_was_asked_for(home: Home) -> None:
    first = home.make_run("first")
    first.submit()
    first.worker_pid()
    a, b, c = (home.make_hopeless_run(name) for name in "abc")
    for run in (a, b, c):
        start.submit(run.folder)
    start.move(c.folder, 0)
    start.move(a.folder, 9)
    kill(first.worker_pid())
    for run in (a, b, c):
        run.wait_for_event(RunFailed)
    assert started_at(c) < started_at(b) < started_at(a)
    home.wait_until_idle()
    assert queue.entries() == []


def test_a_run_begins_from_the_adapter_of_the_one_it_waited_for(home: Home) -> None:
    """The first is stopped before its end: the second waits, the third passes. Resumed, it hands on its adapter."""
    first = home.make_run("first", max_steps=60, save_every=1000)
    start.submit(first.folder)
    spec = RunSpec.model_validate(
        {
            **_tables(first),
            "name": "second",
            "model": {"source": _source(first), "precision": "fp32", "adapter": first.folder.name},
            "training": {"max_steps": 1, "batch_size": 4, "max_length": 64},
        }
    )
    second = type(first)(launch(spec))  # it is live, so it is waited for
    third = home.make_hopeless_run("third")
    start.submit(third.folder)
    [(_, entry), _] = queue.entries()[-2:]
    assert (entry.after, entry.takes_adapter) == (first.folder.name, True)
    first.wait_for_step(2)
    leave_request(first.folder, "stop")
    assert isinstance(first.wait_for_event(RunStopped), RunStopped)
    third.wait_for_event(RunFailed)
    home.wait_until_idle()  # nobody's turn will come by itself: the keeper leaves, the list stays
    assert second.status() == "queued"
    assert second.events() == []

    start.submit(first.folder, resume=True)
    assert isinstance(second.wait_for_event(RunFinished), RunFinished)
    home.wait_until_idle()
    assert isinstance(first.ending(), RunFinished)
    plan = decode_plan(second.folder.plan.read_bytes())
    assert plan.start is not None
    assert plan.start.name == first.folder.name
    taken = second.folder.started_from / "adapter_model.safetensors"
    assert taken.read_bytes() == (first.folder.adapter / "adapter_model.safetensors").read_bytes()


def test_a_run_whose_forerunner_failed_is_skipped_and_others_go_on(home: Home) -> None:
    first = home.make_hopeless_run("first")
    behind, chained, other = (home.make_run(name, max_steps=1) for name in ("behind", "chained", "other"))
    start.hold_queue()
    start.submit(first.folder)
    start.submit(behind.folder, after=first.folder.name)
    start.submit(chained.folder, after=behind.folder.name)
    start.submit(other.folder)
    assert home.processes() == []
    start.release_queue()
    skipped = behind.wait_for_event(RunFailed)
    assert skipped.title == "The run before it failed"
    assert first.folder.name in skipped.message
    assert behind.folder.name in chained.wait_for_event(RunFailed).message
    assert isinstance(other.wait_for_event(RunFinished), RunFinished)
    home.wait_until_idle()
    assert queue.entries() == []
    assert [len(run.endings()) for run in (first, behind, chained, other)] == [1] * 4
    behind.submit(resume=True)  # by itself, after all
    assert isinstance(behind.wait_for_event(RunFinished), RunFinished)


def test_a_run_waits_until_enough_memory_is_free(home: Home) -> None:
    run, behind = home.make_hopeless_run("large"), home.make_hopeless_run("behind")
    memory = psutil.virtual_memory()
    start.hold_queue()
    queue.enqueue(run.folder, device="cpu", needs_bytes=(memory.available + memory.total) // 2 - 1)
    start.submit(behind.folder)
    start.release_queue()
    keeper = home.keeper()
    time.sleep(2.5)  # it has looked at memory more than once
    assert keeper.is_running()
    assert run.status() == behind.status() == "queued"
    assert run.events() == behind.events() == []
    start.move(run.folder, 0, regardless=True)
    run.wait_for_event(RunFailed)
    behind.wait_for_event(RunFailed)
    home.wait_until_idle()


def test_the_list_survives_a_reboot_and_a_command_goes_on_with_it(home: Home) -> None:
    running = home.make_run("running")
    running.submit()
    worker = running.worker_pid()
    waiting = [home.make_hopeless_run(f"waiting-{number}") for number in range(3)]
    for run in waiting:
        start.submit(run.folder)
    start.move(waiting[2].folder, 0)
    kill(home.keeper().pid, worker)
    assert home.processes() == []
    wait_for(lambda: running.status() == "interrupted", "the dead to let go of the lock")
    assert [run.status() for run in waiting] == ["queued"] * 3
    assert lock.is_held(start.keeper_lock()) is False

    command = [sys.executable, "-m", "tuner_tui", "queue", "list", "--json"]
    listed = subprocess.run(command, capture_output=True, check=True, env=dict(os.environ), timeout=60)
    names = [each["run"] for each in msgspec.json.decode(listed.stdout)]
    assert set(names) <= {run.folder.name for run in waiting}
    for run in waiting:
        run.wait_for_event(RunFailed)
    assert started_at(waiting[2]) < started_at(waiting[0]) < started_at(waiting[1])
    home.wait_until_idle()
    assert running.status() == "interrupted"  # what was cut off is resumed by its person, not by itself


def test_a_keeper_killed_while_it_waits_for_memory_loses_nothing(home: Home) -> None:
    run = home.make_hopeless_run("large")
    memory = psutil.virtual_memory()
    queue.enqueue(run.folder, device="cpu", needs_bytes=(memory.available + memory.total) // 2 - 1)
    start.ensure_keeper()
    kill(home.keeper().pid)
    assert run.status() == "queued"
    start.move(run.folder, 0, regardless=True)  # which also starts a keeper
    run.wait_for_event(RunFailed)
    home.wait_until_idle()


def test_a_deleted_run_does_not_stop_the_line(home: Home) -> None:
    gone, behind, after = (home.make_hopeless_run(name) for name in ("gone", "behind", "after"))
    start.hold_queue()
    for run, before in ((gone, None), (behind, gone.folder.name), (after, None)):
        start.submit(run.folder, after=before)
    shutil.rmtree(gone.folder.path)
    start.release_queue()
    assert "deleted" in behind.wait_for_event(RunFailed).message
    assert "deleted" not in after.wait_for_event(RunFailed).message
    home.wait_until_idle()


async def test_opening_the_app_goes_on_with_what_a_reboot_left(home: Home) -> None:
    from tuner_tui.ui.app import TunerApp

    waiting = home.make_hopeless_run("waiting")
    queue.enqueue(waiting.folder)  # and no keeper is there
    async with TunerApp().run_test(size=(80, 24)):
        deadline = time.monotonic() + 60
        while not waiting.endings() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
    assert isinstance(waiting.wait_for_end(), RunFailed)
    home.wait_until_idle()


def _tables(run: WatchedRun) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(run.folder.spec.read_text())


def _source(run: WatchedRun) -> str:
    return str(_tables(run)["model"]["source"])

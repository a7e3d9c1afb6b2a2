"""The person's command at a run's end, run by a real keeper: it is told the truth and can harm nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.faults.home import kill, wait_for
from tuner_tui.config.settings import set_setting
from tuner_tui.keeper import start
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import RunFailed, RunFinished, RunStopped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.home import Home


def told(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_each_end_is_told_once_and_the_queue_goes_on(home: Home) -> None:
    """The command also hangs: the next run does not wait for it, and no process is left."""
    out = home.path / "told"
    set_setting("notify.desktop", "off")
    set_setting("notify.on_finish", f'echo "$TUNER_RUN $TUNER_STATUS $TUNER_STEP" >> "{out}"; sleep 100')
    set_setting("notify.on_finish_seconds", "3")
    failing, finishing, stopping = (
        home.make_hopeless_run("bad"),
        home.make_run("good", 2),
        home.make_run("long"),
    )
    start.hold_queue()
    for run in (failing, finishing, stopping):
        start.submit(run.folder)
    start.release_queue()
    finishing.wait_for_event(RunFinished)
    stopping.wait_for_step(2)
    leave_request(stopping.folder, "stop")
    stop = stopping.wait_for_event(RunStopped)
    wait_for(lambda: len(told(out)) == 3, "three ends to be told")
    assert told(out) == [
        f"{failing.folder.name} failed 0",
        f"{finishing.folder.name} finished 2",
        f"{stopping.folder.name} stopped {stop.step}",
    ]
    home.wait_until_idle()
    log = (home.path / "data" / "keeper.log").read_text()
    assert log.count("took more than 3 s and was killed") == 3


def test_the_end_of_an_adopted_run_is_told(home: Home) -> None:
    out = home.path / "told"
    set_setting("notify.on_finish", f'echo "$TUNER_STATUS $TUNER_TITLE" >> "{out}"')
    run = home.make_run("adopted")
    run.submit()
    worker = run.worker_pid()
    kill(home.keeper().pid)
    start.adopt_if_needed(run.folder)
    home.keeper()
    os.kill(worker, signal.SIGKILL)
    run.wait_for_event(RunFailed)
    wait_for(lambda: told(out) == ["failed The worker crashed"], "the end to be told")
    home.wait_until_idle()

"""`runs show` names what is wrong with a run's lock or its queue entry once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tuner_tui.cli.runs import runs
from tuner_tui.keeper import start
from tuner_tui.runs import queue

if TYPE_CHECKING:
    from tests.faults.home import Home


def shown(name: str) -> str:
    return " ".join(CliRunner().invoke(runs, ["show", name], catch_exceptions=False).output.split())


@pytest.mark.parametrize("is_queued", [True, False])
def test_a_lock_that_cannot_be_opened_is_told_once(home: Home, is_queued: bool) -> None:
    run = home.make_hopeless_run("run")
    start.hold_queue()
    if is_queued:
        start.submit(run.folder)
    run.folder.lock.unlink()
    run.folder.lock.mkdir()
    queue.release()
    assert shown(run.folder.name).count("its lock cannot be opened") == 1


def test_a_queue_entry_that_cannot_be_read_is_told_once(home: Home) -> None:
    run = home.make_hopeless_run("run")
    start.hold_queue()
    start.submit(run.folder)
    queue.entries()[0][0].write_text("{")
    queue.release()
    assert shown(run.folder.name).count("its queue entry cannot be read") == 1

"""Writes the terminal event of a run whose worker wrote none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui.runs.events import RunFailed
from tuner_tui.runs.journal import EventWriter
from tuner_tui.runs.report import write_report
from tuner_tui.runs.status import read_run
from tuner_tui.runs.summary import write_summary

if TYPE_CHECKING:
    from tuner_tui.runs.events import RunStopped
    from tuner_tui.runs.folder import RunFolder


def write_ending(folder: RunFolder, ending: RunStopped | RunFailed) -> None:
    """Write a terminal event unless the attempt has one, and the summary for lists of runs. Raises OSError."""
    events = EventWriter(
        folder.events
    )  # first, since this ends an incomplete line, which may be the terminal event
    try:
        state = read_run(folder).state
        if state.attempt and state.ending is None:
            step = state.last_step.step if state.last_step else None
            if isinstance(ending, RunFailed):
                ending = msgspec.structs.replace(ending, step=step)
            events.write(ending)
    finally:
        events.close()
    write_summary(folder)
    write_report(folder)

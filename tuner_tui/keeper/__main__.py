"""The keeper: one per data folder; adopts live runs, works through the queue, and leaves when nothing is left."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

from tuner_tui.keeper import keep, late_start, on_finish
from tuner_tui.keeper.start import keeper_lock
from tuner_tui.keeper.turns import Line, Place, has_work
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import RunFailed
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.status import read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.queue import QueueEntry

MEMORY_EVERY_SECONDS = 2.0
"""How often free memory is looked at while a run waits for some."""


def main() -> int:
    """Keep until the queue is empty. A second keeper leaves at once."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        held = lock.acquire(keeper_lock(), patience_seconds=0.1)
        if held is None:
            return 0
        _adopt_live_runs()
        line = Line()
        while _keep_next(line):
            _adopt_live_runs()  # whatever went wrong with the last run: one at a time holds the card
        held.release()
        if not has_work():  # looked at after letting go, so that no run is enqueued unseen
            return 0


def _adopt_live_runs() -> None:
    """Wait for runs whose keeper died."""
    for folder in list_runs():
        if lock.is_held(folder.lock):
            keep.adopt_and_keep(folder)
            on_finish.tell(folder)
            _heed_pause(folder)


def _keep_next(line: Line) -> bool:
    """Take the next run off the queue and keep it to its end; False when nobody's turn comes by itself."""
    place = line.next()
    while place is not None and place.standing == "short":
        time.sleep(MEMORY_EVERY_SECONDS)
        place = line.next()
    if place is None:
        return False
    path, entry, folder = place.path, place.entry, place.folder
    try:
        held = lock.acquire(folder.lock, patience_seconds=1.0)
    except OSError:  # the run's folder was deleted while it waited
        _forget(path)
        return True
    if held is None:  # a keeper died before it took the entry of the run it had started
        _forget(path)
        keep.adopt_and_keep(folder)
        on_finish.tell(folder)
        return True
    claimed = None if _was_started(path, entry, folder) else queue.claim(path)
    try:
        if claimed is None:  # it was withdrawn, or started before
            pass
        elif not _skip(claimed, place):
            _keep(claimed, folder, held, is_resumed=entry.resume)
    except Exception:  # one run's trouble must not keep the others waiting
        traceback.print_exc()
    finally:
        held.release()
    if claimed is not None:
        on_finish.tell(folder)
        _heed_pause(folder)
    return True


def _was_started(path: Path, entry: QueueEntry, folder: RunFolder) -> bool:
    """Whether a keeper died after it had started the entry's run; that run is over then, and so is the entry."""
    if path.suffix != queue.CLAIMED or entry.attempts is None:
        return False
    state = read_run(folder).state
    if state.attempt <= entry.attempts or state.worker is None:
        return False
    _forget(path)
    return True


def _forget(entry: Path) -> None:
    """Take an entry off the queue, if it is still there."""
    with contextlib.suppress(FileNotFoundError):
        queue.remove(entry)


def _heed_pause(folder: RunFolder) -> None:
    """A run is paused to have the card free: those that wait for it wait on, until it is resumed or they are let go.

    A queue that its person holds stays theirs to let go.
    """
    if queue.entries() and not queue.is_on_hold() and read_run(folder).status == "paused":
        queue.hold(folder.name)


def _skip(claimed: Path, place: Place) -> bool:
    """Whether a run cannot be started; it then fails with the reason, and leaves the queue."""
    failure = None
    if place.standing == "skipped":
        hint = f"Start it by itself: {shell_command('runs resume', place.folder.name)}"
        failure = RunFailed(kind="error", title="The run before it failed", message=place.reason, hint=hint)
    elif place.entry.takes_adapter:
        failure = late_start.take_adapter(place.folder)
    if failure is None:
        return False
    try:
        late_start.write_skipped(place.folder, failure)
    finally:
        _forget(claimed)
    return True


def _keep(entry: Path, folder: RunFolder, held: lock.FileLock, *, is_resumed: bool) -> None:
    """Start a run and keep it; its queue entry goes when the worker holds the lock, so that it is never in neither."""
    try:
        worker = keep.start(folder, held, is_resumed=is_resumed)
    finally:
        _forget(entry)
    if worker is not None:
        keep.keep(folder, worker, held)


if __name__ == "__main__":
    sys.exit(main())

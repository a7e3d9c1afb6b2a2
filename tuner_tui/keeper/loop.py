"""The keeper's main loop: adopts live runs, works through the queue, and exits when nothing is left.

Errors of the disk, a lock or a single run never end it: the operation is retried, and other runs continue.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.keeper import late_start, on_finish, supervise
from tuner_tui.keeper.log import log_exception, say
from tuner_tui.keeper.obstacle import foreign_holder, lock_problem
from tuner_tui.keeper.pulse import Pulse, Replaced, read_attempt
from tuner_tui.keeper.waiting import Line, Place
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import RunFailed
from tuner_tui.runs.folder import RunFolder, find_moved, list_runs
from tuner_tui.runs.status import read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.runs.queue import QueueEntry

LOOK_EVERY_SECONDS = 2.0
"""Interval between checks of what keeps a run from starting, such as too little free memory."""
PUT_OFF_SECONDS = 5.0
"""How long a run that could not be started is skipped."""


class Keeper:
    """The keeper's state and its main loop."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._line = Line()
        self._put_off: dict[str, float] = {}
        """Queue entries to skip, with the monotonic time until which."""
        self._done: set[str] = set()
        """Finished queue entries that could not be removed."""
        self._missing: set[str] = set()
        """Queue entries whose run's folder was missing at the last check."""
        self._pausing: RunFolder | None = None
        """A paused run for which the queue could not be put on hold yet."""

    def run(self) -> None:
        """Run until nothing is left to do. Raises Replaced."""
        while True:
            self._pulse.beat()
            try:
                self._adopt_live_runs()
                is_done = not self._keep_next()
            except Replaced:
                raise
            except Exception:  # an unknown error must not end the keeper while runs are waiting
                log_exception()
                self._pulse.problem = "the keeper had an error; see its log"
                is_done = False
                time.sleep(LOOK_EVERY_SECONDS)
            if is_done and not self._pulse.is_behind and self._pausing is None:
                return
            if is_done:
                time.sleep(LOOK_EVERY_SECONDS)

    def _adopt_live_runs(self) -> None:
        """Supervise runs whose keeper crashed; only one at a time uses the GPU."""
        for folder in list_runs():
            if lock.is_held(folder.lock) and not lock_problem(folder):
                self._ended(supervise.adopt_and_keep(folder, self._pulse))

    def _keep_next(self) -> bool:
        """Start the next run of the queue and supervise it to its end; False when no run can start by waiting."""
        if self._pausing is not None and not self._apply_pause(self._pausing):
            return False
        for stem in tuple(self._done):
            self._retry_removal(stem)
        now = time.monotonic()
        self._put_off = {stem: until for stem, until in self._put_off.items() if until > now}
        place = self._line.next({*self._put_off, *self._done})
        if place is None:
            return False
        if place.state in ("short", "blocked"):
            time.sleep(LOOK_EVERY_SECONDS)
            return True
        try:
            self._take(place)
            self._pulse.problem = ""
        except OSError as error:
            say(f"{place.folder.name} cannot be started now: {error}")
            self._put_off[place.path.stem] = now + PUT_OFF_SECONDS
            self._pulse.problem = f"{place.folder.name}: {error.strerror or error}; retrying"
        return True

    def _take(self, place: Place) -> None:
        """Start a queued run and supervise it. Raises OSError when it cannot start now; it then stays in the queue."""
        path, entry, folder = place.path, place.entry, place.folder
        if _is_elsewhere(entry, folder):
            self._follow_moved(place)
            return
        self._missing.discard(path.stem)
        run_lock = lock.acquire(folder.lock, patience_seconds=1.0)
        if run_lock is None:  # a keeper crashed before it removed the entry of a run it had started
            if holder := foreign_holder(folder):
                raise OSError(holder)
            folder = supervise.adopt_and_keep(folder, self._pulse)
            if entry.attempts is None or read_attempt(folder) > entry.attempts:
                self._forget(path)
                self._ended(folder)
            return
        try:
            if self._was_started(path, entry, folder):
                self._forget(path)
                return
            claimed = queue.claim(path)
            if claimed is None:  # it was withdrawn
                return
            try:
                if not self._skip(claimed, place):
                    folder = self._keep(claimed, folder, run_lock, is_resumed=entry.resume)
            except OSError:
                queue.put_back(claimed)
                raise
        finally:
            run_lock.release()
        self._ended(folder)

    def _keep(
        self, entry: Path, folder: RunFolder, run_lock: lock.FileLock, *, is_resumed: bool
    ) -> RunFolder:
        """Start a run and supervise it; returns its folder, which may have moved. Raises OSError when it cannot start.

        The queue entry is removed once the worker holds the lock, so that the run is always in one of them.
        """
        try:
            worker = supervise.start(folder, run_lock, is_resumed=is_resumed, pulse=self._pulse)
        except OSError:
            raise
        except Exception as error:
            log_exception()
            self._forget(entry)
            self._pulse.end(folder, _keepers_fault(error))
            return folder
        self._forget(entry)
        if worker is None:
            return folder
        try:
            return supervise.keep(folder, worker, run_lock, self._pulse)
        except Replaced:
            raise
        except Exception as error:
            log_exception()
            folder = supervise.located(folder, run_lock)
            if not lock_problem(folder):
                self._pulse.end(folder, _keepers_fault(error))
            return folder

    def _skip(self, claimed: Path, place: Place) -> bool:
        """Whether a run can never start; it then fails with the reason and leaves the queue. Raises OSError."""
        failure = None
        if place.state == "skipped":
            hint = f"Start it without waiting: {shell_command('runs resume', place.folder.name)}"
            failure = RunFailed(
                kind="error", title="The run before it failed", message=place.reason, hint=hint
            )
        elif place.entry.takes_adapter and (giver := queue.awaited(place.entry)) is not None:
            failure = late_start.take_adapter(place.folder, giver.name, self._pulse.beat)
        if failure is None:
            return False
        late_start.write_skipped(place.folder, failure)
        self._forget(claimed)
        return True

    def _follow_moved(self, place: Place) -> None:
        """Update the queue entry of a run that was renamed while waiting; remove it if the run was deleted."""
        moved = queue.follow_moved(place.path, place.entry)
        if moved is not None:
            say(f"{place.folder.name} was renamed to {moved.name}")
        elif place.path.stem in self._missing:
            self._forget(place.path)
        else:  # it may be in the middle of a rename
            self._missing.add(place.path.stem)
            raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(place.folder.path))

    def _was_started(self, path: Path, entry: QueueEntry, folder: RunFolder) -> bool:
        """Whether an earlier keeper has already started the entry's run and crashed; the entry is then finished."""
        if path.suffix != queue.CLAIMED or entry.attempts is None:
            return False
        state = read_run(folder).state
        return state.attempt > entry.attempts and state.worker is not None

    def _forget(self, entry: Path) -> None:
        """Remove a queue entry; if that fails, it is remembered so that it is not started again."""
        try:
            queue.remove(entry)
        except FileNotFoundError:
            return
        except OSError as error:
            say(f"{entry.name} cannot be removed: {error}")
            self._done.add(entry.stem)

    def _retry_removal(self, stem: str) -> None:
        left = [path for path, _ in queue.entries() if path.stem == stem]
        self._done.discard(stem)
        for path in left:
            self._forget(path)

    def _ended(self, folder: RunFolder) -> None:
        """Called after a run has ended: notifications and pause."""
        if read_attempt(folder):
            try:
                on_finish.tell(folder)
            except RuntimeError:  # no new thread can be started
                log_exception()
        self._apply_pause(folder)

    def _apply_pause(self, folder: RunFolder) -> bool:
        """Put the queue on hold if the run was paused; False when that failed and must be retried."""
        try:
            apply_pause(folder)
        except OSError as error:
            say(f"{folder.name} is paused, but the queue cannot be put on hold: {error}")
            self._pausing = folder
            return False
        self._pausing = None
        return True


def _is_elsewhere(entry: QueueEntry, folder: RunFolder) -> bool:
    """Whether the run is no longer in its folder; another folder may have that name now."""
    if not folder.path.is_dir():
        return True
    if not entry.lock or lock.identity(folder.lock) == entry.lock:
        return False
    return find_moved(entry.lock) is not None or not folder.spec.is_file()


def apply_pause(folder: RunFolder) -> None:
    """Put the queue on hold if the run was paused, until it is resumed or the queue is released.

    A queue that the user has put on hold stays so until they release it. Raises OSError.
    """
    if queue.entries() and not queue.is_on_hold() and read_run(folder).status == "paused":
        queue.hold(folder.name)


def _keepers_fault(error: Exception) -> RunFailed:
    return RunFailed(
        kind="crash",
        title="The keeper failed while supervising the run",
        message=f"{type(error).__name__}: {error}",
        hint="See the keeper's log. Resume from the last checkpoint with `tuner-tui runs resume`.",
    )

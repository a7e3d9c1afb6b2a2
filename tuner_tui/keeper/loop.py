"""The keeper's rounds: it adopts live runs, works through the queue, and is done when nothing is left.

Nothing that a disk, a lock or one run does ends it: what cannot be done now is tried again, and the others go on.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.keeper import late_start, on_finish, supervise
from tuner_tui.keeper.log import say, say_trouble
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
"""How often is looked again at what keeps a run from starting, such as memory that is not free."""
PUT_OFF_SECONDS = 5.0
"""For how long a run is passed over that could not be started."""


class Keeper:
    """One keeper at work."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._line = Line()
        self._put_off: dict[str, float] = {}
        """Until when (monotonic seconds) a queue entry is passed over."""
        self._done: set[str] = set()
        """Queue entries that are over and could not be removed."""
        self._missing: set[str] = set()
        """Queue entries whose run's folder was not there at the last look."""
        self._pausing: RunFolder | None = None
        """A run that was paused without room to note that the queue waits for it."""

    def run(self) -> None:
        """Work until nothing is left to do. Raises Replaced."""
        while True:
            self._pulse.beat()
            try:
                self._adopt_live_runs()
                is_done = not self._keep_next()
            except Replaced:
                raise
            except Exception:  # whatever it is, those that wait must not be left alone with it
                say_trouble()
                self._pulse.trouble = "the keeper met an error; its log says more"
                is_done = False
                time.sleep(LOOK_EVERY_SECONDS)
            if is_done and not self._pulse.is_behind and self._pausing is None:
                return
            if is_done:
                time.sleep(LOOK_EVERY_SECONDS)

    def _adopt_live_runs(self) -> None:
        """Wait for runs whose keeper died; one at a time holds the card."""
        for folder in list_runs():
            if lock.is_held(folder.lock) and not lock_problem(folder):
                self._ended(supervise.adopt_and_keep(folder, self._pulse))

    def _keep_next(self) -> bool:
        """Take the next run off the queue and keep it to its end; False when nobody's turn comes by itself."""
        if self._pausing is not None and not self._heed_pause(self._pausing):
            return False
        for stem in tuple(self._done):
            self._retry_removal(stem)
        now = time.monotonic()
        self._put_off = {stem: until for stem, until in self._put_off.items() if until > now}
        place = self._line.next({*self._put_off, *self._done})
        if place is None:
            return False
        if place.standing in ("short", "blocked"):
            time.sleep(LOOK_EVERY_SECONDS)
            return True
        try:
            self._take(place)
            self._pulse.trouble = ""
        except OSError as error:
            say(f"{place.folder.name} cannot be started now: {error}")
            self._put_off[place.path.stem] = now + PUT_OFF_SECONDS
            self._pulse.trouble = f"{place.folder.name}: {error.strerror or error}; it is tried again"
        return True

    def _take(self, place: Place) -> None:
        """Start the run at a place and keep it. Raises OSError when it cannot begin now; it then waits on."""
        path, entry, folder = place.path, place.entry, place.folder
        if _is_elsewhere(entry, folder):
            self._follow_moved(place)
            return
        self._missing.discard(path.stem)
        held = lock.acquire(folder.lock, patience_seconds=1.0)
        if held is None:  # a keeper died before it took the entry of the run it had started
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
                    folder = self._keep(claimed, folder, held, is_resumed=entry.resume)
            except OSError:
                queue.put_back(claimed)
                raise
        finally:
            held.release()
        self._ended(folder)

    def _keep(self, entry: Path, folder: RunFolder, held: lock.FileLock, *, is_resumed: bool) -> RunFolder:
        """Start a run and keep it; where its folder is then. Raises OSError when it could not begin.

        Its queue entry goes when the worker holds the lock, so that it is never in neither.
        """
        try:
            worker = supervise.start(folder, held, is_resumed=is_resumed, pulse=self._pulse)
        except OSError:
            raise
        except Exception as error:
            say_trouble()
            self._forget(entry)
            self._pulse.end(folder, _keepers_fault(error))
            return folder
        self._forget(entry)
        if worker is None:
            return folder
        try:
            return supervise.keep(folder, worker, held, self._pulse)
        except Replaced:
            raise
        except Exception as error:
            say_trouble()
            folder = supervise.located(folder, held)
            if not lock_problem(folder):
                self._pulse.end(folder, _keepers_fault(error))
            return folder

    def _skip(self, claimed: Path, place: Place) -> bool:
        """Whether a run cannot be started; it then fails with the reason, and leaves the queue. Raises OSError."""
        failure = None
        if place.standing == "skipped":
            hint = f"Start it by itself: {shell_command('runs resume', place.folder.name)}"
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
        """A run that was renamed while it waited waits under its new name; one that was deleted waits no more."""
        moved = queue.follow_moved(place.path, place.entry)
        if moved is not None:
            say(f"{place.folder.name} is {moved.name} now")
        elif place.path.stem in self._missing:
            self._forget(place.path)
        else:  # it may be on its way to another name, or back
            self._missing.add(place.path.stem)
            raise FileNotFoundError(errno.ENOENT, "its folder is gone", str(place.folder.path))

    def _was_started(self, path: Path, entry: QueueEntry, folder: RunFolder) -> bool:
        """Whether a keeper died after it had started the entry's run; that run is over then, and so is the entry."""
        if path.suffix != queue.CLAIMED or entry.attempts is None:
            return False
        state = read_run(folder).state
        return state.attempt > entry.attempts and state.worker is not None

    def _forget(self, entry: Path) -> None:
        """Remove a queue entry; one that cannot be removed is never started again."""
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
        """What follows on a run that has ended."""
        if read_attempt(folder):
            try:
                on_finish.tell(folder)
            except RuntimeError:  # no further thread can be started
                say_trouble()
        self._heed_pause(folder)

    def _heed_pause(self, folder: RunFolder) -> bool:
        """Whether it is noted that the queue waits for a run, if that was paused; it is tried again until it is."""
        try:
            heed_pause(folder)
        except OSError as error:
            say(f"{folder.name} is paused, and the queue cannot be put on hold: {error}")
            self._pausing = folder
            return False
        self._pausing = None
        return True


def _is_elsewhere(entry: QueueEntry, folder: RunFolder) -> bool:
    """Whether the run is not in its folder any more; another folder may have that name by now."""
    if not folder.path.is_dir():
        return True
    if not entry.lock or lock.identity(folder.lock) == entry.lock:
        return False
    return find_moved(entry.lock) is not None or not folder.spec.is_file()


def heed_pause(folder: RunFolder) -> None:
    """A run is paused to have the card free: those that wait for it wait on, until it is resumed or they are let go.

    A queue that its person holds stays theirs to let go. Raises OSError.
    """
    if queue.entries() and not queue.is_on_hold() and read_run(folder).status == "paused":
        queue.hold(folder.name)


def _keepers_fault(error: Exception) -> RunFailed:
    return RunFailed(
        kind="crash",
        title="The keeper could not keep the run",
        message=f"{type(error).__name__}: {error}",
        hint="The keeper's log says more. Resume from the last checkpoint with `tuner-tui runs resume`.",
    )

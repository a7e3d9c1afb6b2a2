"""What the keeper does again and again, whatever else it is at: it answers, and catches up on what the disk refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.keeper.heartbeat import Heart
from tuner_tui.keeper.log import say
from tuner_tui.keeper.obstacle import SMALLEST_ROOM_BYTES, free_bytes
from tuner_tui.runs import lock
from tuner_tui.runs.ending import write_ending
from tuner_tui.runs.folder import RunFolder, find_moved
from tuner_tui.runs.status import read_run

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.events import RunFailed, RunStopped


class Replaced(Exception):
    """Another keeper took the place of this one, which must leave without touching anything."""


@dataclass(frozen=True)
class Unwritten:
    """A terminal event that found no room."""

    folder: RunFolder
    lock_identity: str
    attempt: int
    ending: RunStopped | RunFailed


class Pulse:
    """The keeper's sign of life, and the endings that wait for room on the disk."""

    def __init__(self, held: lock.FileLock | None = None, lock_path: Path | None = None) -> None:
        self._held, self._lock_path = held, lock_path
        self._heart = Heart()
        self._unwritten: list[Unwritten] = []
        self.trouble = ""
        """Why the next run does not start, for those who look."""

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._unwritten)

    def beat(self) -> None:
        """Answer. Raises Replaced when this is not the data folder's keeper any more."""
        if self._held is None or self._lock_path is None:
            return
        if not self._held.is_at(self._lock_path):
            raise Replaced
        self._heart.beat(self.trouble)
        self._unwritten = [each for each in self._unwritten if not _is_settled(each)]

    def end(self, folder: RunFolder, ending: RunStopped | RunFailed) -> None:
        """Write a run's terminal event unless its attempt has one: now, or as soon as there is room."""
        try:
            write_ending(folder, ending)
        except FileNotFoundError as error:
            say(f"{folder.name}: the end could not be written: {error}")
        except OSError as error:
            say(f"{folder.name}: the end waits for room: {error}")
            attempt = read_attempt(folder)
            if attempt:
                self._unwritten.append(Unwritten(folder, lock.identity(folder.lock), attempt, ending))

    def close(self) -> None:
        self._heart.close()


def read_attempt(folder: RunFolder) -> int:
    """The number of a run's last attempt; 0 where its events cannot be read."""
    try:
        return read_run(folder).state.attempt
    except OSError:
        return 0


def _is_settled(each: Unwritten) -> bool:
    """Whether an ending is written by now, or nobody needs it any more."""
    folder: RunFolder | None = each.folder
    if lock.identity(each.folder.lock) != each.lock_identity:
        folder = find_moved(each.lock_identity)
    if folder is None:  # it was deleted
        return True
    free = free_bytes(folder.path)
    if free is not None and free < SMALLEST_ROOM_BYTES:
        return False
    try:
        if read_run(folder).state.attempt == each.attempt:
            write_ending(folder, each.ending)
    except OSError:
        return False
    return True

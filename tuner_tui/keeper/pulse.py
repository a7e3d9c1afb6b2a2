"""The keeper's periodic work during any other: the heartbeat, and retrying terminal events on a full disk."""

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
    """Another keeper has replaced this one, which must exit without changing anything."""


@dataclass(frozen=True)
class Unwritten:
    """A terminal event that could not be written yet."""

    folder: RunFolder
    lock_identity: str
    attempt: int
    ending: RunStopped | RunFailed


class Pulse:
    """The keeper's heartbeat and the terminal events to be retried."""

    def __init__(self, own_lock: lock.FileLock | None = None, lock_path: Path | None = None) -> None:
        self._own_lock, self._lock_path = own_lock, lock_path
        self._heart = Heart()
        self._unwritten: list[Unwritten] = []
        self.problem = ""
        """Why the next run does not start; part of the heartbeat."""

    @property
    def is_behind(self) -> bool:
        """Whether a terminal event is still to be written."""
        return bool(self._unwritten)

    def beat(self) -> None:
        """Write a heartbeat and retry events. Raises Replaced when this is no longer the data folder's keeper."""
        if self._own_lock is None or self._lock_path is None:
            return
        if not self._own_lock.is_at(self._lock_path):
            raise Replaced
        self._heart.beat(self.problem)
        self._unwritten = [pending for pending in self._unwritten if not _is_settled(pending)]

    def end(self, folder: RunFolder, ending: RunStopped | RunFailed) -> None:
        """Write a run's terminal event unless its attempt has one: now, or as soon as the disk has space."""
        try:
            write_ending(folder, ending)
        except FileNotFoundError as error:
            say(f"{folder.name}: the terminal event could not be written: {error}")
        except OSError as error:
            say(f"{folder.name}: the terminal event will be retried: {error}")
            attempt = read_attempt(folder)
            if attempt:
                self._unwritten.append(Unwritten(folder, lock.identity(folder.lock), attempt, ending))

    def close(self) -> None:
        self._heart.close()


def read_attempt(folder: RunFolder) -> int:
    """The number of a run's last attempt; 0 if its events cannot be read."""
    try:
        return read_run(folder).state.attempt
    except OSError:
        return 0


def _is_settled(pending: Unwritten) -> bool:
    """Whether a terminal event is written by now, or no longer needed."""
    folder: RunFolder | None = pending.folder
    if lock.identity(pending.folder.lock) != pending.lock_identity:
        folder = find_moved(pending.lock_identity)
    if folder is None:  # it was deleted
        return True
    free = free_bytes(folder.path)
    if free is not None and free < SMALLEST_ROOM_BYTES:
        return False
    try:
        if read_run(folder).state.attempt == pending.attempt:
            write_ending(folder, pending.ending)
    except OSError:
        return False
    return True

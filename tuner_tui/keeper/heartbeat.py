"""The keeper's heartbeat: when it last answered, written in place so that a full disk has room for it too."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.files import open_descriptor
from tuner_tui.guarded import Unreadable
from tuner_tui.keeper.obstacle import keeper_lock_problem
from tuner_tui.runs import lock
from tuner_tui.text import duration

BEAT_SECONDS = 1.0
QUIET_SECONDS = 15.0
"""A keeper that has not answered for so long is worth a word."""
RECORD_BYTES = 512
MOST_CHARACTERS = 120


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The record in the heartbeat file."""

    pid: int
    boot: str
    """Which start of the machine the uptime counts from; empty where the system does not say."""
    uptime: float
    """Seconds on the clock that stands still while the machine sleeps and that nobody sets."""
    at: float
    """Unix seconds."""
    trouble: str = ""
    """Why the next run does not start, where only the keeper knows."""

    @property
    def is_of_this_boot(self) -> bool:
        return self.boot == _boot() and self.uptime <= time.monotonic()

    @property
    def age_seconds(self) -> float:
        """Seconds since the keeper answered."""
        return max(0.0, time.monotonic() - self.uptime if self.is_of_this_boot else time.time() - self.at)


def heartbeat_file() -> Path:
    """Kept when a keeper leaves, so that the next one needs no room for it."""
    return paths.data_dir() / "keeper.beat"


class Heart:
    """Writes the heartbeat; whatever the disk says to that, the keeper goes on."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._next_at = 0.0
        self._trouble = ""

    def beat(self, trouble: str = "") -> None:
        """Answer, at most once a second unless there is news."""
        if time.monotonic() < self._next_at and trouble == self._trouble:
            return
        self._next_at, self._trouble = time.monotonic() + BEAT_SECONDS, trouble
        beat = Beat(
            pid=os.getpid(),
            boot=_boot(),
            uptime=time.monotonic(),
            at=time.time(),
            trouble=trouble[:MOST_CHARACTERS],
        )
        record = msgspec.json.encode(beat)
        try:
            if self._descriptor < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
                self._descriptor = open_descriptor(heartbeat_file(), flags)
            os.pwrite(self._descriptor, record.ljust(RECORD_BYTES), 0)
        except OSError:
            return

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_beat() -> Beat | None:
    """The last heartbeat; None when there never was one, or it cannot be read."""
    try:
        with guarded.open_regular(heartbeat_file()) as file:
            return guarded.decode_json(file.read(RECORD_BYTES), Beat, heartbeat_file())
    except (OSError, Unreadable):
        return None


def keeper_words(keeper_lock: Path) -> str:
    """Why a run whose turn has come does not start, where that is the keeper's doing; empty when all is well."""
    beat = read_beat()
    if beat is not None and beat.age_seconds < QUIET_SECONDS:
        return beat.trouble if lock.is_held(keeper_lock) else ""
    if problem := keeper_lock_problem(keeper_lock):
        return problem
    return "" if beat is None else last_answered(beat)


def last_answered(beat: Beat) -> str:
    """Such as `the keeper last answered 2 min ago`."""
    seconds = beat.age_seconds
    age = f"{seconds // 60:.0f} min" if 60 <= seconds < 3600 else duration(seconds)
    return f"the keeper last answered {age} ago"


def _boot() -> str:
    try:
        return guarded.read_text(Path("/proc/sys/kernel/random/boot_id")).strip()
    except Unreadable:
        return ""

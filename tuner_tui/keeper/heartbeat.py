"""The keeper's heartbeat: when it was last alive, written in place so that it works on a full disk."""

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
"""Age of a heartbeat from which the keeper counts as not responding."""
RECORD_BYTES = 512
MOST_CHARACTERS = 120


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The record in the heartbeat file."""

    pid: int
    boot: str
    """The boot that the uptime counts from; empty where the system does not say."""
    uptime: float
    """Seconds on the monotonic clock, which stops while the machine sleeps."""
    at: float
    """Unix seconds."""
    problem: str = msgspec.field(default="", name="trouble")
    """Why the next run does not start, if only the keeper knows."""

    @property
    def is_of_this_boot(self) -> bool:
        return self.boot == _boot() and self.uptime <= time.monotonic()

    @property
    def age_seconds(self) -> float:
        """Seconds since the heartbeat."""
        return max(0.0, time.monotonic() - self.uptime if self.is_of_this_boot else time.time() - self.at)


def heartbeat_file() -> Path:
    """The heartbeat's file; it stays when a keeper exits, so that the next one needs no disk space for it."""
    return paths.data_dir() / "keeper.beat"


class Heart:
    """Writes the heartbeat; write errors are ignored."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._next_at = 0.0
        self._problem = ""

    def beat(self, problem: str = "") -> None:
        """Write a heartbeat, at most once a second unless the problem has changed."""
        if time.monotonic() < self._next_at and problem == self._problem:
            return
        self._next_at, self._problem = time.monotonic() + BEAT_SECONDS, problem
        beat = Beat(
            pid=os.getpid(),
            boot=_boot(),
            uptime=time.monotonic(),
            at=time.time(),
            problem=problem[:MOST_CHARACTERS],
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
    """The last heartbeat; None if there is none or it cannot be read."""
    try:
        with guarded.open_regular(heartbeat_file()) as file:
            return guarded.decode_json(file.read(RECORD_BYTES), Beat, heartbeat_file())
    except (OSError, Unreadable):
        return None


def keeper_words(keeper_lock: Path) -> str:
    """Why the next run does not start, if the keeper is the reason; empty otherwise."""
    beat = read_beat()
    if beat is not None and beat.age_seconds < QUIET_SECONDS:
        return beat.problem if lock.is_held(keeper_lock) else ""
    if problem := keeper_lock_problem(keeper_lock):
        return problem
    return "" if beat is None else last_answered(beat)


def last_answered(beat: Beat) -> str:
    """For example `the keeper last answered 2 min ago`."""
    seconds = beat.age_seconds
    age = f"{seconds // 60:.0f} min" if 60 <= seconds < 3600 else duration(seconds)
    return f"the keeper last answered {age} ago"


def _boot() -> str:
    try:
        return guarded.read_text(Path("/proc/sys/kernel/random/boot_id")).strip()
    except Unreadable:
        return ""

"""Kills a keeper that no longer responds, so that another one can replace it.

It is killed before the lock is free, so a suspended keeper can never continue beside its successor. One that cannot be
killed from here, such as one in another container, keeps the lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from tuner_tui.keeper.heartbeat import read_beat
from tuner_tui.keeper.obstacle import KEEPER_MODULE, has_open
from tuner_tui.runs import lock

if TYPE_CHECKING:
    from pathlib import Path

SILENT_SECONDS = 60.0
"""Age of a heartbeat from which a keeper is replaced; none of its operations takes nearly as long."""
ENDING_SECONDS = 5.0


def end_silent_keeper(keeper_lock: Path, silent_seconds: float | None = None) -> bool:
    """Kill the keeper if its last heartbeat is too old; True if that released its lock."""
    limit = SILENT_SECONDS if silent_seconds is None else silent_seconds
    beat = read_beat()
    if beat is None or not beat.is_of_this_boot or beat.age_seconds < limit or not lock.is_held(keeper_lock):
        return False
    try:
        process = os.pidfd_open(beat.pid) if hasattr(os, "pidfd_open") else None
    except OSError:  # it has exited: another one holds the lock and will respond
        return False
    try:
        now = read_beat()  # read again: from here on the ID cannot belong to another process
        if (
            now is None
            or now.pid != beat.pid
            or now.age_seconds < limit
            or not _is_keeper(beat.pid, keeper_lock)
        ):
            return False
        if process is not None:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        else:
            os.kill(beat.pid, signal.SIGKILL)
    except OSError:  # another user's, or exited
        return False
    finally:
        if process is not None:
            with contextlib.suppress(OSError):
                os.close(process)
    deadline = time.monotonic() + ENDING_SECONDS
    while time.monotonic() < deadline:
        if not lock.is_held(keeper_lock):
            return True
        time.sleep(0.02)
    return False  # it hangs in the kernel: it does nothing more, but its lock is not free yet


def _is_keeper(pid: int, keeper_lock: Path) -> bool:
    """Whether a process is a keeper that has the data folder's keeper lock open."""
    import psutil

    try:
        if KEEPER_MODULE not in psutil.Process(pid).cmdline():
            return False
        return not os.path.isdir("/proc/self/fd") or has_open(pid, keeper_lock)  # noqa: PTH112
    except (psutil.Error, OSError):
        return False

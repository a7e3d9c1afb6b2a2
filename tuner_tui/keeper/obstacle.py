"""What keeps a run from starting apart from the queue: its lock, its folder, the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.keeper.process import is_of_run
from tuner_tui.runs import lock
from tuner_tui.text import plain, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

    from tuner_tui.runs.folder import RunFolder

SMALLEST_ROOM_BYTES = 128 << 10
"""Disk space for an attempt's first and last events."""
LOOKING_SECONDS = 0.2
"""How long a lock may appear held because another process checks it."""
KEEPER_MODULE = "tuner_tui.keeper"


def find_obstacle(folder: RunFolder) -> str:
    """Why a run cannot start now; empty if it can."""
    if problem := lock_problem(folder):
        return problem
    for path in (folder.path, folder.lock):
        if path.exists() and not os.access(path, os.W_OK):
            return f"{path} cannot be written"
    free = free_bytes(folder.path)
    if free is not None and free < SMALLEST_ROOM_BYTES:
        return f"the disk is full: {size(free)} free at {folder.path}"
    return ""


def lock_problem(folder: RunFolder) -> str:
    """What is wrong with a run's lock: it cannot be opened, or another program holds it; empty if nothing."""
    state = lock.look(folder.lock)
    if state.problem:
        return f"its lock cannot be opened: {folder.lock} ({state.problem})"
    if not state.is_held:
        return ""
    return foreign_holder(folder)


def foreign_holder(folder: RunFolder) -> str:
    """The foreign program that holds a run's lock; empty if it is free or held by our processes."""
    holder = _foreign(folder.lock, lambda process: _is_keeper(process) or is_of_run(process, folder.path))
    return f"its lock is {holder}" if holder else ""


def keeper_lock_problem(path: Path) -> str:
    """What is wrong with the keeper's lock: it cannot be opened, or another program holds it; empty if nothing."""
    state = lock.look(path)
    if state.problem:
        return f"no keeper can start: {path} cannot be opened ({state.problem})"
    holder = _foreign(path, _is_keeper) if state.is_held else ""
    return f"no keeper can start: {path} is {holder}" if holder else ""


def _is_keeper(process: psutil.Process) -> bool:
    return KEEPER_MODULE in process.cmdline()


def _foreign(path: Path, is_ours: Callable[[psutil.Process], bool]) -> str:
    """For example `held by another program (rsync, process 4711)`; empty if the lock is free or held by us."""
    import psutil

    strangers = []
    pids = list(_pids_with_open(path)) or psutil.pids()  # not every system tells who has a file open
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if not process.cmdline() or is_ours(process):  # without a command line it is exiting
                return ""
            strangers.append(f"{plain(process.name())}, process {pid}")
        except (psutil.Error, OSError):
            continue
    if _is_free(path):
        return ""
    return f"held by another program{f' ({strangers[0]})' if len(strangers) == 1 else ''}"


def free_bytes(path: Path) -> int | None:
    """Free disk space for this user; None where unknown."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return None
    return disk.f_frsize * (disk.f_bavail if os.geteuid() else disk.f_bfree)


def _is_free(path: Path) -> bool:
    """Whether a lock can be taken: a shared check would not notice another shared lock."""
    try:
        opened = lock.open_lock(path)
    except OSError:
        return False
    try:
        return opened.take(LOOKING_SECONDS)
    except OSError:
        return False
    finally:
        opened.release()


def _pids_with_open(path: Path) -> Iterator[int]:
    """Other processes that have a file open, as far as /proc shows them to this user."""
    try:
        status = path.stat()
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return
    for pid in pids:
        if pid == os.getpid():
            continue
        try:
            with os.scandir(f"/proc/{pid}/fd") as descriptors:
                if any(_is_same(entry.path, status) for entry in descriptors):
                    yield pid
        except OSError:
            continue


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has a file open; False where unknown. Raises OSError for other users' processes."""
    status = path.stat()
    with os.scandir(f"/proc/{pid}/fd") as descriptors:
        return any(_is_same(entry.path, status) for entry in descriptors)


def _is_same(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)  # noqa: PTH116
    except OSError:
        return False

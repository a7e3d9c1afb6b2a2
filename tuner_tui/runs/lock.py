"""The lock that shows that a run is live; all use of the operating system's locks is here.

The lock belongs to an open file, not to a process: keeper and worker hold the same one through an inherited
descriptor, and it is free when the last of them (and of their children) has exited. No process IDs are compared.
An open lock file also leads to the run's folder after that was renamed or moved.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: needs msvcrt.locking and handle inheritance, not written yet
    fcntl = None  # type: ignore[assignment]

from tuner_tui.errors import TunerError
from tuner_tui.files import open_descriptor
from tuner_tui.text import plain

ABSENT = (errno.ENOENT, errno.ENOTDIR)
"""Errors for a missing lock file, which no process holds."""
NOT_THE_FILES_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN)
"""Errors of this process, which tell nothing about the lock."""


class FileLock:
    """An open lock file; `descriptor` can be handed to a child process, which then holds the lock too."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def take(self, patience_seconds: float = 0.0) -> bool:
        """Take the lock; False while another holds it. Raises OSError."""
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)
            else:
                return True

    def is_at(self, path: Path) -> bool:
        """Whether the file at a path is this lock's own."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self.descriptor))
        except (OSError, ValueError):
            return False

    def path(self) -> Path | None:
        """The lock file's current path; None when it was deleted, or the system does not tell."""
        if os.fstat(self.descriptor).st_nlink == 0:
            return None
        try:
            if sys.platform == "darwin":
                return Path(
                    os.fsdecode(fcntl.fcntl(self.descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
                )
            path = Path(os.readlink(f"/proc/self/fd/{self.descriptor}"))  # noqa: PTH115
        except OSError:
            return None
        return path if self.is_at(path) else None

    def reopen(self, path: Path) -> None:
        """Replace the descriptor with that of the lock file now at a path, not yet locked. Raises OSError."""
        self._become(open_lock(path))

    def take_anew(self, path: Path) -> bool:
        """Lock the file now at a path, creating it if needed; False while another process holds it. Raises OSError."""
        opened = acquire(path, patience_seconds=1.0)
        if opened is None:
            return False
        self._become(opened)
        return True

    def _become(self, other: FileLock) -> None:
        os.dup2(other.descriptor, self.descriptor, inheritable=False)
        other.release()

    def release(self) -> None:
        """Close this descriptor; the lock stays held while a child has its own."""
        os.close(self.descriptor)


@dataclass(frozen=True)
class LockState:
    """The result of checking a lock."""

    is_held: bool
    """True also if unknown: a lock that may be held must never count as free."""
    problem: str = ""
    """Why the lock cannot be used, such as `Permission denied`; empty when it can."""


def acquire(path: Path, patience_seconds: float = 0.0) -> FileLock | None:
    """Take the lock; None when another process holds it. With patience, short checks by readers do not matter.

    Raises OSError when the lock file cannot be opened.
    """
    opened = open_lock(path, os.O_RDWR | os.O_CREAT)
    try:
        if opened.take(patience_seconds):
            return opened
    except BaseException:
        opened.release()
        raise
    opened.release()
    return None


def open_lock(path: Path, flags: int = os.O_RDWR) -> FileLock:
    """The lock file, opened and not yet taken. Raises OSError, also for what is no regular file and no file name."""
    if fcntl is None:
        raise TunerError("Not supported here", "Run locks are not written for this operating system yet.")
    try:
        _require_regular(path, os.lstat(path))  # before opening: some devices act when they are opened
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise OSError(errno.EINVAL, "not a possible file name", plain(str(path))) from error
    # Without waiting: a pipe would keep us until somebody opens its other end.
    descriptor = open_descriptor(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _require_regular(path, os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return FileLock(descriptor)


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def look(path: Path) -> LockState:
    """Check a lock, with a shared lock so that readers do not disturb each other."""
    try:
        opened = open_lock(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in ABSENT:
            return LockState(is_held=False)
        return LockState(True, "" if error.errno in NOT_THE_FILES_FAULT else error.strerror or str(error))
    try:
        fcntl.flock(opened.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return LockState(is_held=True)
    except OSError as error:  # such as a file system without locks
        return LockState(True, "" if error.errno in NOT_THE_FILES_FAULT else error.strerror or str(error))
    finally:
        os.close(opened.descriptor)
    return LockState(is_held=False)


def is_held(path: Path) -> bool:
    """Whether the lock is held; True also if unknown."""
    return look(path).is_held


def is_in_use(path: Path) -> bool:
    """Whether a lock seems to be in use; False for one that cannot be opened."""
    state = look(path)
    return state.is_held and not state.problem


def identity(path: Path) -> str:
    """An identity of the lock file that survives renaming and that no copy shares; empty if there is no file."""
    try:
        status = path.stat(follow_symlinks=False)
    except (OSError, ValueError):
        return ""
    return f"{status.st_ino}-{status.st_mtime_ns}"  # inode numbers are reused; times are not

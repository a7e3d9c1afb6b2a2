"""The lock that says a run is alive; the only place that knows the operating system's locks.

The lock belongs to an open file, not to a process: keeper and worker hold the same one through an inherited
descriptor, and it is free when the last of them (and of their children) is gone. No process ids are compared.
An open lock file also finds its run: it leads to the folder also after that was renamed or moved.
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
"""Where there is no lock file, nobody holds it."""
NOT_THE_FILES_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN)
"""We could not look; that says nothing about the lock."""


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
        """Where the lock file is now; None when it was deleted, or the system does not say."""
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
        """Have the descriptor be of the lock file that is at a path now, not yet taken. Raises OSError."""
        self._become(open_lock(path))

    def take_anew(self, path: Path) -> bool:
        """Hold the lock file that is at a path now, made if need be; False while another holds that. Raises OSError."""
        opened = acquire(path, patience_seconds=1.0)
        if opened is None:
            return False
        self._become(opened)
        return True

    def _become(self, other: FileLock) -> None:
        os.dup2(other.descriptor, self.descriptor, inheritable=False)
        other.release()

    def release(self) -> None:
        """Close our descriptor; the lock stays held while a child has its own."""
        os.close(self.descriptor)


@dataclass(frozen=True)
class LockState:
    """What a look at a lock shows."""

    is_held: bool
    """Also where nobody can tell: what may be held must never be taken for free."""
    problem: str = ""
    """Why the lock cannot be used, such as `Permission denied`; empty when it can."""


def acquire(path: Path, patience_seconds: float = 0.0) -> FileLock | None:
    """Take the lock, or None when another holds it. Patience outlasts the moment in which a reader looks.

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
    """Who may take the lock. A shared look, so that readers do not disturb each other."""
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
    except OSError as error:  # such as a file system that knows no locks
        return LockState(True, "" if error.errno in NOT_THE_FILES_FAULT else error.strerror or str(error))
    finally:
        os.close(opened.descriptor)
    return LockState(is_held=False)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock; True also where that cannot be told."""
    return look(path).is_held


def is_in_use(path: Path) -> bool:
    """Whether somebody seems to be at work under a lock; one that nobody can open says nothing about that."""
    state = look(path)
    return state.is_held and not state.problem


def identity(path: Path) -> str:
    """What a lock file keeps when its folder is renamed, and no copy of it shares; empty when there is none."""
    try:
        status = path.stat(follow_symlinks=False)
    except (OSError, ValueError):
        return ""
    return f"{status.st_ino}-{status.st_mtime_ns}"  # numbers of deleted files are used again; times are not

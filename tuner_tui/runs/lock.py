"""The lock that says a run is alive; the only place that knows the operating system's locks.

The lock belongs to an open file, not to a process: keeper and worker hold the same one through an inherited
descriptor, and it is free when the last of them (and of their children) is gone. No process ids are compared.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: needs msvcrt.locking and handle inheritance, not written yet
    fcntl = None  # type: ignore[assignment]

from tuner_tui.errors import TunerError
from tuner_tui.files import open_descriptor


class FileLock:
    """A held lock; `descriptor` can be handed to a child process, which then holds it too."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Close our descriptor; the lock stays held while a child has its own."""
        os.close(self.descriptor)


def acquire(path: Path, patience_seconds: float = 0.0) -> FileLock | None:
    """Take the lock, or None when another holds it. Patience outlasts the moment in which a reader looks."""
    if fcntl is None:
        raise TunerError("Not supported here", "Run locks are not written for this operating system yet.")
    descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
        except OSError:
            os.close(descriptor)
            raise
        else:
            return FileLock(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock. A shared look, so that readers do not disturb each other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

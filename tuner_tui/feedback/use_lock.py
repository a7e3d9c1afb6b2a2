"""The lock of a collection: shared while annotating or reading, exclusive while deleting or restoring.

The lock is on a small file beside the collection, never on the collection itself: closing a descriptor of a database
would drop SQLite's own locks on it. The file stays, so that no process waits for a lock file that was replaced.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.files import open_descriptor, path_problem

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where runs do not start either
    fcntl = None  # type: ignore[assignment]

PATIENCE_SECONDS = 2.0
"""A list or an export uses a collection for a moment; an annotation session uses it for longer."""


class UseLock:
    """A lock that is held until it is released."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock; safe to call more than once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> UseLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_path(collection: Path) -> Path:
    """The path of a collection's lock file."""
    return collection.with_name(f".{collection.name}.lock")


def share(collection: Path) -> UseLock:
    """Take the shared lock. Raises TunerError while the collection is deleted or restored."""
    lock = _take(collection, is_alone=False)
    if lock is None:
        raise TunerError(
            "The collection is being deleted or restored",
            f"{collection.stem}: another window or command is working on it.",
            "Try again in a moment.",
        )
    return lock


def take_alone(collection: Path) -> UseLock:
    """Take the exclusive lock, to delete or restore. Raises TunerError while the collection is in use."""
    lock = _take(collection, is_alone=True)
    if lock is None:
        raise TunerError(
            "The collection is in use",
            f"{collection.stem} is open in another window, or a command reads it.",
            "Close it there, then try again. Nothing was changed.",
        )
    return lock


def _take(collection: Path, *, is_alone: bool) -> UseLock | None:
    if fcntl is None:
        raise TunerError("Not supported here", "Locks are not written for this operating system yet.")
    path = lock_path(collection)
    try:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
    except OSError as error:
        raise TunerError(
            "The collection cannot be locked",
            f"{path_problem(error, path)}.",
            "Check the permissions of the folder and of that file.",
        ) from error
    kind = fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
        except OSError as error:  # a file system without locks
            if is_alone:
                os.close(descriptor)
                raise TunerError(
                    "The collection cannot be locked",
                    f"{path}: {error.strerror}.",
                    "Move it to a local disk.",
                ) from error
            return UseLock(descriptor)
        else:
            return UseLock(descriptor)

"""Who uses a collection: any number judge it together, and whoever deletes or restores it does so alone.

The lock is on a small file beside the collection, never on the collection itself: closing a descriptor of a database
would drop SQLite's own locks on it. The file stays, so that nobody waits for a lock that was renamed away.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.files import open_descriptor

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where runs do not start either
    fcntl = None  # type: ignore[assignment]

PATIENCE_SECONDS = 2.0
"""A list or an export holds a collection for a moment; a person who judges holds it for longer."""


class UseLock:
    """A lock that is held until it is released."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; more than once does no harm."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> UseLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_path(collection: Path) -> Path:
    """Where a collection's lock lies."""
    return collection.with_name(f".{collection.name}.lock")


def share(collection: Path) -> UseLock:
    """Use a collection beside others. Raises TunerError while it is deleted or restored."""
    lock = _take(collection, is_alone=False)
    if lock is None:
        raise TunerError(
            "The collection is being deleted or restored",
            f"{collection.stem}: another window or command is at it.",
            "Try again in a moment.",
        )
    return lock


def take_alone(collection: Path) -> UseLock:
    """Use a collection alone, to delete or restore it. Raises TunerError while anybody else uses it."""
    lock = _take(collection, is_alone=True)
    if lock is None:
        raise TunerError(
            "The collection is in use",
            f"{collection.stem} is being judged in another window, or a command reads it.",
            "Leave it there, then try again. Nothing was changed.",
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
            f"{path}: {error.strerror}.",
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

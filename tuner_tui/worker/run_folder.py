"""Makes a run's folder the working directory, which stays the same folder when it is renamed or moved."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.owned import Owned
from tuner_tui.runs.folder import LOCK_FILE, RUN_LOCK_VARIABLE, RunFolder, is_run, was_made
from tuner_tui.runs.lock import FileLock, acquire, identity, open_lock

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class FolderHere(RunFolder):
    """A run's folder with relative paths, so that nothing is written to another folder that took its old name."""

    path: Path = field(default_factory=Path)
    first_place: Path = field(default_factory=Path.cwd)

    @property
    def place(self) -> Path:
        return current_place() or self.first_place

    @property
    def owned(self) -> Owned:
        """To be asked for anew at each deletion: the folder is where it is just now."""
        return _OwnedHere(self.place, "run", was_made)


class _OwnedHere(Owned):
    """An owned working directory; paths below it may be relative to it."""

    @contextlib.contextmanager
    def _parent_of(self, path: Path) -> Iterator[tuple[int, str]]:
        with super()._parent_of(self.folder / path) as parent:
            yield parent


class LockHere:
    """The lock of the run in the current folder; recreates a lock file that is deleted during training.

    Without it the run would appear interrupted, and could be resumed by a second worker, or deleted.
    """

    def __init__(self) -> None:
        """Raises OSError if there is no lock."""
        self._lock: FileLock = open_lock(Path(LOCK_FILE))
        """The descriptor inherited from the keeper holds this lock."""

    def look(self) -> bool:
        """Whether the lock had to be recreated or taken again. Raises OSError."""
        if self._lock.is_at(Path(LOCK_FILE)) or not is_run(Path()):
            return False
        taken = acquire(Path(LOCK_FILE))
        if taken is None:
            return False
        self._lock.release()
        self._lock = taken
        return True


def enter(path: Path) -> FolderHere:
    """Change to the run's folder. Raises TunerError when it is not the one that this worker was started for.

    The keeper started the worker there; since then it may have been renamed, and another folder may have its name.
    """
    expected = os.environ.get(RUN_LOCK_VARIABLE)
    if not expected or identity(Path(LOCK_FILE)) != expected:
        os.chdir(path)
        if expected and identity(Path(LOCK_FILE)) != expected:
            raise TunerError(
                "The run's folder was replaced", f"{path} is not the folder of this worker's run."
            )
    return FolderHere()


def current_place() -> Path | None:
    """The working directory's path; None when it was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None

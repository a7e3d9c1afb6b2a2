"""A run's folder as the process's current one: it stays the same folder when somebody renames or moves it."""

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
    """Its paths are relative, so that nothing is ever written to another folder that took its old name."""

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
    """A current folder of ours; paths below it may be relative to it."""

    @contextlib.contextmanager
    def _parent_of(self, path: Path) -> Iterator[tuple[int, str]]:
        with super()._parent_of(self.folder / path) as parent:
            yield parent


class LockHere:
    """The lock of the run in the current folder: a lock file that is deleted while its run trains is made again.

    Without it the run would read as interrupted, and could be resumed by a second worker, or deleted.
    """

    def __init__(self) -> None:
        """Raises OSError where there is no lock."""
        self._lock: FileLock = open_lock(Path(LOCK_FILE))
        """Our descriptor from the keeper holds this one."""

    def look(self) -> bool:
        """Whether the lock had to be made, or taken, anew. Raises OSError."""
        if self._lock.is_at(Path(LOCK_FILE)) or not is_run(Path()):
            return False
        taken = acquire(Path(LOCK_FILE))
        if taken is None:
            return False
        self._lock.release()
        self._lock = taken
        return True


def enter(path: Path) -> FolderHere:
    """Make the run's folder the current one. Raises TunerError when it is not the one that this worker was started for.

    Its keeper started us there; between that and now it may have been renamed, and another may have taken its name.
    """
    expected = os.environ.get(RUN_LOCK_VARIABLE)
    if not expected or identity(Path(LOCK_FILE)) != expected:
        os.chdir(path)
        if expected and identity(Path(LOCK_FILE)) != expected:
            raise TunerError(
                "The run's folder was exchanged", f"{path} is not the folder of this worker's run."
            )
    return FolderHere()


def current_place() -> Path | None:
    """Where the current folder is; None when it was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None

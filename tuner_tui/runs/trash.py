"""Deleting that can be undone: things are renamed into a trash folder, which is emptied when the app closes.

Each app has a folder of its own there, with a lock; a folder whose lock is free was left by an app that died, and is
emptied by the next one that closes. Room on the disk is free only then.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.files import folder_size
from tuner_tui.runs import lock
from tuner_tui.runs.delete import require_idle
from tuner_tui.runs.notes import note_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

LOCK_FILE = "lock"


@dataclass(frozen=True)
class Thrown:
    """Things that were thrown away together."""

    words: str
    """What they were, for the one who is asked about undoing."""
    moved: tuple[tuple[Path, Path], ...]
    """From where to where."""
    size_bytes: int


class Trash:
    """What one app has thrown away, the last first to come back."""

    def __init__(self) -> None:
        self.thrown: list[Thrown] = []
        self._name = secrets.token_hex(6)
        self._held: dict[Path, lock.FileLock] = {}

    @property
    def size_bytes(self) -> int:
        """What emptying frees."""
        return sum(each.size_bytes for each in self.thrown)

    def throw(self, things: Sequence[Path], words: str) -> Thrown:
        """Move files and folders here, all or none. Raises TunerError when one cannot be moved."""
        moved: list[tuple[Path, Path]] = []
        size = 0
        try:
            for number, thing in enumerate(things):
                here = self._folder(thing)
                size += folder_size(thing) if thing.is_dir() else thing.stat().st_size
                target = here / f"{len(self.thrown)}-{number}-{thing.name}"
                thing.rename(target)
                moved.append((thing, target))
        except OSError as error:
            for source, target in reversed(moved):
                target.rename(source)
            raise TunerError(
                "It cannot be deleted", f"{error.filename or things[0]}: {error.strerror or error}."
            ) from error
        self.thrown.append(Thrown(words, tuple(moved), size))
        return self.thrown[-1]

    def throw_run(self, folder: RunFolder) -> Thrown:
        """Move a run here, with its note. Raises RunProblem when it is live."""
        require_idle(folder)
        note = note_file(folder.name)
        return self.throw([folder.path, *([note] if note.exists() else [])], folder.name)

    def undo(self) -> Thrown | None:
        """Put back what was thrown away last; None when there is nothing. Raises TunerError when its place is taken."""
        if not self.thrown:
            return None
        last = self.thrown[-1]
        for source, _ in last.moved:
            if source.exists():
                raise TunerError("It cannot be put back", f"There is another {source} now.")
        try:
            for source, target in last.moved:
                source.parent.mkdir(parents=True, exist_ok=True)
                target.rename(source)
        except OSError as error:
            raise TunerError(
                "It cannot be put back", f"{error.filename}: {error.strerror or error}."
            ) from error
        return self.thrown.pop()

    def empty(self) -> int:
        """Delete all of it for good; how many bytes that freed."""
        freed = self.size_bytes
        self.thrown.clear()
        for folder, held in self._held.items():
            shutil.rmtree(folder, ignore_errors=True)
            held.release()
        self._held.clear()
        return freed

    def _folder(self, thing: Path) -> Path:
        """Our folder on the thing's own file system, where renaming is possible."""
        folder = _root(thing) / self._name
        if folder not in self._held:
            folder.mkdir(parents=True, exist_ok=True)
            held = lock.acquire(folder / LOCK_FILE)
            assert held is not None  # nobody else knows the name
            self._held[folder] = held
        return folder


def empty_abandoned() -> None:
    """Delete for good what apps that died had thrown away."""
    for folder in _abandoned():
        shutil.rmtree(folder, ignore_errors=True)


def abandoned_bytes() -> int:
    """What apps that died had thrown away and nobody deleted yet."""
    return sum(map(folder_size, _abandoned()))


def _abandoned() -> Iterator[Path]:
    for root in (paths.runs_dir() / ".trash", paths.cache_dir() / "trash"):
        try:
            folders = [path for path in root.iterdir() if path.is_dir()]
        except OSError:
            continue
        yield from (folder for folder in folders if not lock.is_held(folder / LOCK_FILE))


def _root(thing: Path) -> Path:
    if thing.is_relative_to(paths.cache_dir()):
        return paths.cache_dir() / "trash"
    return paths.runs_dir() / ".trash"

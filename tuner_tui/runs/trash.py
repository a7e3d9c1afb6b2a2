"""The trash: deletions that can be undone. Items are renamed into a trash folder, and deleted permanently later.

Items deleted in the app are kept until that app closes; a run deleted by a command is kept for KEPT_DAYS. Each deletion
has its own folder in the trash, locked while an app may undo it; a run's folder has a record, so that any process can
restore it. Disk space is freed only when the trash is emptied.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import NotFoundError, RunProblem, TunerError
from tuner_tui.files import folder_size, make_folder, path_problem, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.owned import Layout, Owned
from tuner_tui.runs import lock, notes, queue
from tuner_tui.runs.folder import RunFolder, pick_name
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LOCK_FILE, RECORD_FILE, RUN_FOLDER, NOTE_FILE = "lock", "deleted.json", "run", "note.json"
KEPT_DAYS = 30


class DeletedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a deleted run in the trash."""

    name: str
    at: float
    """Unix time of its deletion."""
    size_bytes: int
    kept_until: float | None = None
    """Unix time from which it may be deleted permanently; None for a run deleted in an app: when that closes."""


@dataclass(frozen=True)
class Deletion:
    """Files and folders that were moved to the trash together."""

    words: str
    """A description, for the undo message."""
    moved: tuple[tuple[Path, Path], ...]
    """Pairs of original and new path."""
    size_bytes: int
    folder: Path
    """Their folder in the trash."""


class Trash:
    """The deletions of one app, undone in reverse order."""

    def __init__(self) -> None:
        self.deletions: list[Deletion] = []
        self._locks: dict[Path, lock.FileLock] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes that emptying frees."""
        return sum(deletion.size_bytes for deletion in self.deletions)

    def move_items(self, owned: Owned, paths_to_move: Sequence[Path], words: str) -> Deletion:
        """Move files and folders below an owned folder to the trash, all or none. Raises TunerError."""
        with _explained(owned.folder):
            folder, folder_lock = _new_folder(_root(owned.folder))
        deletion = _moved(owned, paths_to_move, words, folder, folder_lock)
        self._locks[folder] = folder_lock
        self.deletions.append(deletion)
        return deletion

    def move_run(self, folder: RunFolder) -> Deletion:
        """Move a run with its note to the trash. Raises RunProblem when it is live, TunerError when moving fails."""
        deletion, folder_lock = _move_run(folder, kept_until=None)
        self._locks[deletion.folder] = folder_lock
        self.deletions.append(deletion)
        return deletion

    def undo(self) -> Deletion | None:
        """Undo the last deletion; None if there is none. Raises TunerError when the original path is taken."""
        if not self.deletions:
            return None
        last = self.deletions[-1]
        _put_back(last.moved)
        self._forget(last.folder)
        return self.deletions.pop()

    def empty(self) -> int:
        """Delete everything permanently; returns the bytes freed."""
        freed = self.size_bytes
        self.deletions.clear()
        for folder in list(self._locks):
            self._forget(folder)
        return freed

    def _forget(self, folder: Path) -> None:
        _trash(folder.parent).discard(folder)
        self._locks.pop(folder).release()


def delete_run(folder: RunFolder) -> DeletedRun:
    """Move a run to the trash, from which `restore_run` restores it within KEPT_DAYS.

    Raises RunProblem when it is live, TunerError when it cannot be moved.
    """
    deletion, folder_lock = _move_run(folder, kept_until=time.time() + KEPT_DAYS * 86400)
    folder_lock.release()
    empty_abandoned()
    record = _record(deletion.folder)
    assert record is not None
    return record


def deleted_runs() -> list[DeletedRun]:
    """The runs in the trash, the last deleted first."""
    return [record for record, _ in _deleted()]


def restore_run(text: str) -> str:
    """Restore the last deleted run with this name, or start or end of a name; returns its name.

    Raises NotFoundError, InputError, and TunerError when its path is taken or an open app may undo the deletion.
    """
    deleted = _deleted()
    if not deleted:
        raise NotFoundError("No deleted run", "The trash is empty.", "See: tuner-tui runs list")
    try:
        name = pick_name(text, sorted({record.name for record, _ in deleted}))
    except NotFoundError:
        names = ", ".join(record.name for record, _ in deleted[:5])
        raise NotFoundError(
            "No such deleted run", f"{text!r} is not in the trash, which has {names}.",
            "See all: tuner-tui runs restore",
        ) from None  # fmt: skip
    folder = next(folder for record, folder in deleted if record.name == name)
    with _explained(folder, "It cannot be restored"):
        folder_lock = lock.acquire(folder / LOCK_FILE)
    if folder_lock is None:
        raise TunerError(
            "It cannot be restored",
            f"{name} was deleted in an app that is still open.",
            "Press u on the Runs screen of that app.",
        )
    try:
        moved = [(paths.runs_dir() / name, folder / RUN_FOLDER)]
        note = notes.note_file(name)
        if (folder / NOTE_FILE).is_file() and not note.exists():
            moved.append((note, folder / NOTE_FILE))
        _put_back(moved)
        _trash(folder.parent).discard(folder)
    finally:
        folder_lock.release()
    return name


def empty_abandoned() -> None:
    """Permanently delete what crashed apps moved to the trash, and runs whose time in the trash is over."""
    for folder in _abandoned():
        _trash(folder.parent).discard(folder)


def empty_trash() -> tuple[int, list[str]]:
    """Delete for good all that no open app holds; (how many bytes that freed, what stayed and why)."""
    freed, stayed = 0, []
    for folder in dict.fromkeys([*_abandoned(), *(folder for _, folder in _deleted())]):
        if not folder.is_dir() or lock.is_held(folder / LOCK_FILE):
            continue
        size, record = folder_size(folder), _record(folder)
        try:
            _trash(folder.parent).remove(folder)
        except OSError as error:
            name = record.name if record else folder.name
            place = str(error.filename or folder)
            place = place if place.startswith("/") else str(folder)
            stayed.append(f"{name}: {place}: {error.strerror or error}.")
        freed += max(0, size - (folder_size(folder) if folder.exists() else 0))
    return freed, stayed


def abandoned_bytes() -> int:
    """Bytes in the trash that can no longer be restored."""
    return sum(map(folder_size, _abandoned()))


def require_idle(folder: RunFolder) -> None:
    """Raise RunProblem for a run that is live."""
    if queue.is_queued(folder.name) or lock.is_held(folder.lock):
        raise RunProblem(
            "The run is live", folder.name, f"Stop it first: {shell_command('runs stop', folder.name)}"
        )


def _move_run(folder: RunFolder, kept_until: float | None) -> tuple[Deletion, lock.FileLock]:
    require_idle(folder)
    size = folder_size(folder.path)
    record = DeletedRun(name=folder.name, at=time.time(), size_bytes=size, kept_until=kept_until)
    with _explained(folder.path):
        folder.owned.require()
        place, folder_lock = _new_folder(_root(folder.path))
        try:
            write_atomic(place / RECORD_FILE, msgspec.json.encode(record))
            folder.owned.move_all(place / RUN_FOLDER)
        except OSError:
            _trash(place.parent).discard(place)
            folder_lock.release()
            raise
    moved = [(folder.path, place / RUN_FOLDER)]
    note = notes.note_file(folder.name)
    with contextlib.suppress(OSError):  # a note that stays is used again if the run is restored
        notes.owned().move(note, place / NOTE_FILE)
        moved.append((note, place / NOTE_FILE))
    return Deletion(folder.name, tuple(moved), size, place), folder_lock


def _moved(
    owned: Owned, paths_to_move: Sequence[Path], words: str, folder: Path, folder_lock: lock.FileLock
) -> Deletion:
    moved: list[tuple[Path, Path]] = []
    size = 0
    try:
        with _explained(owned.folder):
            for number, path in enumerate(paths_to_move):
                size += folder_size(path) if path.is_dir() else path.stat().st_size
                owned.move(path, folder / f"{number}-{path.name}")
                moved.append((path, folder / f"{number}-{path.name}"))
    except TunerError:
        _put_back(moved)
        _trash(folder.parent).discard(folder)
        folder_lock.release()
        raise
    return Deletion(words, tuple(moved), size, folder)


def _put_back(moved: Sequence[tuple[Path, Path]]) -> None:
    for source, _ in moved:
        if source.exists() or source.is_symlink():
            raise TunerError("It cannot be restored", f"{source} exists again.", "Move it away first.")
    with _explained(moved[0][0] if moved else paths.runs_dir(), "It cannot be restored"):
        for source, target in moved:
            make_folder(source.parent)
            _trash(target.parent.parent).move(target, source)


@contextlib.contextmanager
def _explained(place: Path, title: str = "It cannot be deleted") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TunerError(title, f"{path_problem(error, place)}.") from error


def _new_folder(root: Path) -> tuple[Path, lock.FileLock]:
    """A new folder in a trash, and its lock. Raises OSError."""
    folder = _trash(root).claim() / secrets.token_hex(6)
    make_folder(folder)
    folder_lock = lock.acquire(folder / LOCK_FILE)
    assert folder_lock is not None  # the name is new
    return folder, folder_lock


def _trash(root: Path) -> Owned:
    is_older = root == _roots()[0] or paths.is_usual_cache()
    return Owned(root, "trash", layout=LAYOUT, may_be_older=is_older)


def _is_throw(folder: Path) -> bool:
    """Whether a folder holds nothing but what a throw puts there."""
    names = {path.name for path in folder.iterdir()}
    if names and not ((folder / LOCK_FILE).is_file() and not (folder / LOCK_FILE).is_symlink()):
        return False
    return all(_IN_A_THROW.fullmatch(name) for name in names)


def _was_thrown(folder: Path) -> bool:
    """Whether its lock, which is empty, and its record, or numbers of what was thrown, show that we made it."""
    if (folder / LOCK_FILE).lstat().st_size:
        return False
    others = [path.name for path in folder.iterdir() if path.name != LOCK_FILE]
    return _record(folder) is not None or (bool(others) and all(map(_NUMBERED.fullmatch, others)))


_NUMBERED = re.compile(r"[0-9]+-.+", re.DOTALL)
_IN_A_THROW = re.compile(
    rf"{LOCK_FILE}|{RUN_FOLDER}|{re.escape(NOTE_FILE)}|(\.{re.escape(RECORD_FILE)}\..{{8}}|{re.escape(RECORD_FILE)})"
    rf"|{_NUMBERED.pattern}",
    re.DOTALL,
)
LAYOUT = Layout("[0-9a-f]{12}", _is_throw, _was_thrown)


def _roots() -> tuple[Path, Path]:
    """The trash folders: one on the runs' file system, one on the caches', so that renaming works."""
    return paths.runs_dir() / ".trash", paths.cache_dir() / "trash"


def _root(place: Path) -> Path:
    runs, cache = _roots()
    return cache if place.is_relative_to(paths.cache_dir()) else runs


def _folders() -> Iterator[Path]:
    for root in _roots():
        yield from (path for path in _trash(root).entries() if path.is_dir())


def _abandoned() -> list[Path]:
    return [folder for folder in _folders() if not _waits(folder) and not lock.is_held(folder / LOCK_FILE)]


def _waits(folder: Path) -> bool:
    """Whether a folder has a run that a command deleted and that can still be restored."""
    record = _record(folder)
    return record is not None and record.kept_until is not None and record.kept_until > time.time()


def _deleted() -> list[tuple[DeletedRun, Path]]:
    records = [
        (record, folder)
        for folder in _folders()
        if (folder / RUN_FOLDER).is_dir() and (record := _record(folder)) is not None
    ]
    return sorted(records, key=lambda pair: -pair[0].at)


def _record(folder: Path) -> DeletedRun | None:
    try:
        record = guarded.read_json(folder / RECORD_FILE, DeletedRun)
    except Unreadable:
        return None
    is_plain = "/" not in record.name and "\0" not in record.name and record.name not in ("", ".", "..")
    return record if is_plain else None

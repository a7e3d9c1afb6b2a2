"""The trash: what was deleted in the app or by a command is kept for KEPT_DAYS, and can be restored by either.

Each deletion has its own folder in the trash, with a record of where its contents were, written before they are moved.
Its lock is held while it is filled, restored or emptied. Disk space is freed only when the trash is emptied.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import NotFoundError, RunProblem, TunerError
from tuner_tui.files import can_be_path, entries, folder_size, make_folder, path_problem, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.owned import Layout, Owned
from tuner_tui.runs import lock, notes, queue
from tuner_tui.runs.folder import RunFolder, pick_name
from tuner_tui.text import plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOCK_FILE, RECORD_FILE, RUN_FOLDER, NOTE_FILE = "lock", "deleted.json", "run", "note.json"
KEPT_DAYS = 30
KEPT_SECONDS = KEPT_DAYS * 86400.0
LATEST = 4102444800.0
"""The year 2100: later times in a record, or of a file, are not those of a clock that was right."""


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a deletion in the trash."""

    name: str
    """The run's name; for other items, what they belong to and their kind."""
    at: float
    """Unix time of the deletion."""
    size_bytes: int
    kept_until: float | None = None
    """Unix time from which it may be deleted permanently; None in records of earlier versions."""
    items: tuple[str, ...] = ()
    """For other items than a run: their paths, relative to the folder that the trash is in."""

    @property
    def until(self) -> float:
        """As `kept_until`, never None."""
        return self.at + KEPT_SECONDS if self.kept_until is None else self.kept_until


def delete_run(folder: RunFolder) -> Deletion:
    """Move a run with its note to the trash. Raises RunProblem when it is live, TunerError when it cannot be moved."""
    require_idle(folder)
    record = _record_of(folder.name, folder_size(folder.path))
    with _explained(folder.path):
        folder.owned.require()
    with _filling(_root(folder.path), record) as place, _explained(folder.path):
        require_idle(folder)  # again: it may have been queued while it was measured
        folder.owned.move_all(place / RUN_FOLDER)
        with contextlib.suppress(OSError):  # a note that stays is used again if the run is restored
            notes.owned().move(notes.note_file(folder.name), place / NOTE_FILE)
    empty_expired()
    return record


def delete_items(owned: Owned, items: Sequence[Path], name: str) -> Deletion:
    """Move files and folders below an owned folder to the trash under a name, all or none. Raises TunerError."""
    root = _root(owned.folder)
    with _explained(owned.folder):
        size = sum(folder_size(path) if path.is_dir() else path.stat().st_size for path in items)
    places = tuple(str(path.absolute().relative_to(root.parent.absolute())) for path in items)
    moved: list[tuple[Path, Path]] = []
    with _filling(root, _record_of(name, size, places)) as place:
        try:
            with _explained(owned.folder):
                for number, path in enumerate(items):
                    target = place / _item_name(number, path.name)
                    owned.move(path, target)
                    moved.append((path, target))
        except TunerError:
            _put_back(moved)
            raise
    return _record_of(name, size, places)


def deletions() -> list[Deletion]:
    """What is in the trash and can be restored, the last deleted first."""
    return [record for record, _ in _deleted()]


def restore(text: str) -> str:
    """Restore the last deletion that a text refers to (see `folder.pick_name`); returns its name.

    Raises NotFoundError, InputError, and TunerError when a path is taken or another process restores or empties it.
    """
    deleted = _deleted()
    if not deleted:
        raise NotFoundError("No deleted run", "The trash is empty.", "See: tuner-tui runs list")
    try:
        name = pick_name(text, sorted({record.name for record, _ in deleted}))
    except NotFoundError as error:
        names = ", ".join(record.name for record, _ in deleted[:5])
        hint = error.hint if error.hint.startswith("Did you mean") else "See all: tuner-tui runs restore"
        raise NotFoundError(
            "No such deleted run", f"{text!r} is not in the trash, which has {names}.", hint
        ) from None
    return _restore(*next(pair for pair in deleted if pair[0].name == name))


def restore_last() -> str | None:
    """Restore what was deleted last; returns its name, None when the trash is empty. Raises TunerError."""
    deleted = _deleted()
    return _restore(*deleted[0]) if deleted else None


def empty_expired() -> None:
    """Permanently delete what has been in the trash for KEPT_DAYS, and remains of interrupted deletions."""
    for folder in _expired():
        _trash(folder.parent).discard(folder)


def empty_trash() -> tuple[int, list[str]]:
    """Permanently delete everything in the trash; (how many bytes that freed, what stayed and why)."""
    freed, stayed = 0, []
    for folder in list(_folders()):
        if lock.is_held(folder / LOCK_FILE):
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


def expired_bytes() -> int:
    """Bytes in the trash that are no longer kept."""
    return sum(map(folder_size, _expired()))


def require_idle(folder: RunFolder) -> None:
    """Raise RunProblem for a run that is live."""
    if queue.is_queued(folder.name) or lock.is_held(folder.lock):
        raise RunProblem(
            "The run is live", folder.name, f"Stop it first: {shell_command('runs stop', folder.name)}"
        )


def _record_of(name: str, size_bytes: int, items: tuple[str, ...] = ()) -> Deletion:
    now = _now()
    return Deletion(name=name, at=now, size_bytes=size_bytes, kept_until=now + KEPT_SECONDS, items=items)


def _now() -> float:
    """The time, or what is known to be past already: with a clock that was set back, KEPT_DAYS would end too soon.

    Later than every other deletion, so that the last one is the first to be restored.
    """
    places = (*entries(paths.data_dir(), 1000), *entries(paths.runs_dir(), 1000))
    changes = [_changed(place) for place in places]
    earlier = [record.at + 0.001 for record, _ in _deleted()]
    return max(time.time(), *(moment for moment in (*changes, *earlier) if moment < LATEST), 0.0)


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


@contextlib.contextmanager
def _filling(root: Path, record: Deletion) -> Iterator[Path]:
    """A new, locked folder in a trash with a record; removed again when filling it fails. Raises TunerError."""
    try:
        content = msgspec.json.encode(record)
    except UnicodeEncodeError as error:
        raise TunerError(
            "It cannot be deleted",
            f"{plain(record.name)}: a name that is not UTF-8 text cannot be recorded for restoring it.",
            "Rename the folder first.",
        ) from error
    with _explained(root):
        place = _trash(root).claim() / secrets.token_hex(6)
        make_folder(place)
        folder_lock = lock.acquire(place / LOCK_FILE)
    assert folder_lock is not None  # the name is new
    try:
        with _explained(place):
            write_atomic(place / RECORD_FILE, content)
        yield place
    except BaseException:
        if not _contents(place):
            _trash(root).discard(place)
        raise
    finally:
        folder_lock.release()


def _restore(record: Deletion, folder: Path) -> str:
    with _explained(folder, "It cannot be restored"):
        folder_lock = lock.acquire(folder / LOCK_FILE)
    if folder_lock is None:
        raise TunerError(
            "It cannot be restored", f"{record.name} is being restored or deleted elsewhere.", "Try again."
        )
    try:
        _put_back(_places(record, folder))
        _trash(folder.parent).discard(folder)
    finally:
        folder_lock.release()
    return record.name


def _places(record: Deletion, folder: Path) -> list[tuple[Path, Path]]:
    """Pairs of the original path and the one in the trash. Raises TunerError."""
    places: list[tuple[Path, Path]]
    if not record.items:
        places = [(paths.runs_dir() / record.name, folder / RUN_FOLDER)]
        note = notes.note_file(record.name)
        if (folder / NOTE_FILE).is_file() and not note.exists():
            places.append((note, folder / NOTE_FILE))
        return places
    home, places = folder.parent.parent, []
    for number, item in enumerate(record.items):
        original = home / item
        for parent in original.parents:
            if parent == home:
                break
            if parent.is_symlink():
                raise TunerError(
                    "It cannot be restored", f"{parent} is a symlink.", "Replace it by a folder."
                )
        if home == paths.runs_dir() and not original.parent.is_dir():
            run = original.relative_to(home).parts[0]
            hint = f"If that run was deleted too, restore it first: {shell_command('runs restore', run)}"
            raise TunerError("It cannot be restored", f"{original.parent} does not exist.", hint)
        places.append((original, folder / _item_name(number, original.name)))
    return places


def _put_back(moved: Sequence[tuple[Path, Path]]) -> None:
    waiting = [(source, target) for source, target in moved if target.exists() or target.is_symlink()]
    for source, _ in waiting:
        if source.exists() or source.is_symlink():
            raise TunerError("It cannot be restored", f"{source} exists again.", "Move it away first.")
    with _explained(waiting[0][0] if waiting else paths.runs_dir(), "It cannot be restored"):
        for source, target in waiting:
            make_folder(source.parent)
            _trash(target.parent.parent).move(target, source)


@contextlib.contextmanager
def _explained(place: Path, title: str = "It cannot be deleted") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TunerError(title, f"{path_problem(error, place)}.") from error


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


def _expired() -> list[Path]:
    now = time.time()
    return [
        folder for folder in _folders() if _kept_until(folder) <= now and not lock.is_held(folder / LOCK_FILE)
    ]


def _kept_until(folder: Path) -> float:
    """The time of its record; of a damaged one, KEPT_DAYS after the folder's last change; without one, 0."""
    record = _record(folder)
    if record is not None:
        return record.until if _contents(folder) else 0.0
    if not (folder / RECORD_FILE).exists():
        return 0.0
    try:
        return folder.stat().st_mtime + KEPT_SECONDS
    except OSError:  # just emptied elsewhere
        return 0.0


def _contents(folder: Path) -> list[Path]:
    """What was moved to a folder of the trash."""
    try:
        inside = list(folder.iterdir())
    except OSError:  # just emptied elsewhere
        return []
    return [path for path in inside if path.name == RUN_FOLDER or _NUMBERED.fullmatch(path.name)]


def _deleted() -> list[tuple[Deletion, Path]]:
    records = [
        (record, folder)
        for folder in _folders()
        if (record := _record(folder)) is not None and _contents(folder)
    ]
    return sorted(records, key=lambda pair: -pair[0].at)


def _record(folder: Path) -> Deletion | None:
    """None for a record that is missing, or was not written by us: it names something else than a deleted item."""
    try:
        record = guarded.read_json(folder / RECORD_FILE, Deletion)
    except Unreadable:
        return None
    is_plain = "/" not in record.name and "\0" not in record.name and record.name not in ("", ".", "..")
    if not is_plain or not all(_is_below(item, folder.parent.name) for item in record.items):
        return None
    if not (0 <= record.at < LATEST and 0 <= record.until < LATEST):  # of a wrong clock, or not written by us
        changed = min(_changed(folder), LATEST - KEPT_SECONDS)
        return msgspec.structs.replace(record, at=changed, kept_until=changed + KEPT_SECONDS)
    return msgspec.structs.replace(record, kept_until=record.until)


def _is_below(item: str, trash_name: str) -> bool:
    """Whether a recorded path is one below the folder that a trash is in, and not in the trash."""
    parts = PurePosixPath(item).parts
    is_relative = bool(parts) and not item.startswith("/") and ".." not in parts
    return is_relative and parts[0] != trash_name and can_be_path(item)


def _item_name(number: int, name: str) -> str:
    return f"{number}-{name}"

"""The queue of runs that wait for the GPU: one small file per entry, in order of arrival or in a set order.

Moving a run writes a file with the order and leaves the entries in place, so that no reader can miss one. A keeper
claims an entry by renaming it, so that claiming and withdrawing cannot both succeed, and removes it when the run's
worker has started, so that a keeper that crashes in between loses nothing.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
from pathlib import Path

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.files import can_be_path, is_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.owned import Owned
from tuner_tui.runs.folder import RunFolder, find_known, find_moved
from tuner_tui.runs.lock import identity
from tuner_tui.text import plain

WAITING, CLAIMED = ".json", ".claimed"
ORDER_FILE, REGARDLESS_FILE, HELD_FILE = "order", "regardless", "held"
LARGEST_BESIDE_BYTES = 1 << 20


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A queued run; `folder` is its path."""

    folder: str
    resume: bool = False
    after: str | None = None
    """The name that the run to finish first had when this one was queued; see `awaited`."""
    after_lock: str = ""
    """The identity of that run's lock, which finds it after a rename."""
    takes_adapter: bool = False
    """Whether it starts from the adapter of the run that it waits for, once that has finished."""
    device: str = "auto"
    needs_bytes: int | None = None
    """Memory that must be free on the device before it starts; None if unknown or not required."""
    attempts: int | None = None
    """The run's attempts when it was queued; if there are more, a claimed entry was started."""
    lock: str = ""
    """The identity of the run's lock (lock.identity), which finds its folder after a rename."""


def enqueue(
    folder: RunFolder,
    resume: bool = False,
    *,
    after: str | None = None,
    takes_adapter: bool = False,
    device: str = "auto",
    needs_bytes: int | None = None,
    attempts: int | None = None,
) -> None:
    """Add a run to the end of the queue. Raises OSError when the data folder cannot be written."""
    waiting = owned().claim()
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, "its name is not UTF-8 text; rename the folder", folder.name) from None
    entry = QueueEntry(
        folder=str(folder.path),
        resume=resume,
        after=after,
        takes_adapter=takes_adapter,
        device=device,
        needs_bytes=needs_bytes,
        attempts=attempts,
        lock=identity(folder.lock),
        after_lock=identity(RunFolder(paths.runs_dir() / after).lock) if after else "",
    )
    last = max((int(path.name.partition("-")[0]) for path in _files()), default=0)
    moment = max(time.time_ns(), last + 1)  # last also when the clock was set back
    write_atomic(waiting / f"{moment:020d}-{folder.name}{WAITING}", msgspec.json.encode(entry))


def entries() -> list[tuple[Path, QueueEntry]]:
    """The queued runs, the next first; unusable entries are in `problems`."""
    queued = []
    regardless = _stems(REGARDLESS_FILE)
    for path in _files():
        try:
            entry = guarded.read_json(path, QueueEntry)
        except Unreadable:  # removed in the meantime, or in `problems`
            continue
        if _foreign_name(entry):
            continue
        if path.stem in regardless:
            entry = msgspec.structs.replace(entry, needs_bytes=None)
        queued.append((path, entry))
    return queued


def problems() -> dict[str, str]:
    """The problems of unusable entries, which never start, by run name."""
    unreadable = {}
    for path in _files():
        try:
            if foreign := _foreign_name(guarded.read_json(path, QueueEntry)):
                unreadable[_run_name(path)] = (
                    f"its queue entry names {foreign}, which is not a run in {paths.runs_dir()}; remove the entry"
                )
        except Unreadable as error:
            if not error.is_missing:
                unreadable[_run_name(path)] = (
                    f"its queue entry cannot be read ({error.problem}); remove it, then resume the run"
                )
    return unreadable


def _foreign_name(entry: QueueEntry) -> str:
    """What an entry refers to that none of ours would: another folder, or a path as the run before it.

    An entry may have come from elsewhere, also with a copy of the whole data folder. A folder that is gone is no such
    name: its run may have been moved, which is looked for by its lock.
    """
    if entry.after is not None and not _can_be_run_name(entry.after):
        return plain(entry.after) or "nothing"
    folder, runs = Path(entry.folder), paths.runs_dir()
    if not folder.is_absolute() or not _can_be_run_name(folder.name) or not can_be_path(entry.folder):
        return plain(entry.folder) or "nothing"
    try:
        if folder.parent == runs or folder.parent.resolve() == runs.resolve():
            return ""
    except (OSError, RuntimeError):  # a loop of symlinks
        return plain(entry.folder)
    return plain(entry.folder) if is_folder(folder) else ""


def _can_be_run_name(name: str) -> bool:
    is_plain = bool(name) and not name.startswith(".") and "/" not in name
    return is_plain and can_be_path(str(paths.runs_dir() / name))


def awaited(entry: QueueEntry) -> RunFolder | None:
    """The run that must finish before an entry's, by its current name."""
    return None if entry.after is None else find_known(entry.after, entry.after_lock)


def is_queued(run_name: str) -> bool:
    """Whether a run is queued or is being started."""
    return any(_run_name(path) == run_name for path in _files())


def is_waiting(run_name: str) -> bool:
    """Whether a run is queued and no keeper has claimed it."""
    return any(_run_name(path) == run_name and path.suffix == WAITING for path in _files())


def queued_names() -> set[str]:
    """The names of all runs that are queued or being started, for checking many."""
    return {_run_name(path) for path in _files()}


def owned() -> Owned:
    """The queue's folder, for deleting entries."""
    return Owned(paths.queue_dir(), "queue", _holds_entries)


def remove(entry: Path) -> None:
    """Delete one of the queue's files. Raises FileNotFoundError, NotOurs, OSError."""
    owned().remove(entry)


def claim(entry: Path) -> Path | None:
    """Claim an entry to start its run; returns its new path, or None if it was withdrawn in the meantime."""
    claimed = entry.with_suffix(CLAIMED)
    try:
        entry.rename(claimed)
    except FileNotFoundError:
        return None
    return claimed


def put_back(claimed: Path) -> None:
    """Undo a claim, so that the entry can be withdrawn; if that fails, it stays queued under the claimed name."""
    with contextlib.suppress(OSError):
        claimed.rename(claimed.with_suffix(WAITING))


def follow_moved(path: Path, entry: QueueEntry) -> RunFolder | None:
    """Update an entry to its run's current folder; None if the run no longer exists.

    Its position is kept. Raises OSError.
    """
    moved = find_moved(entry.lock)
    if moved is None:
        return None
    moment = path.name.partition("-")[0]
    renamed = msgspec.structs.replace(entry, folder=str(moved.path))
    target = path.with_name(f"{moment}-{moved.name}{WAITING}")
    write_atomic(target, msgspec.json.encode(renamed))
    for file in (ORDER_FILE, REGARDLESS_FILE):
        if path.stem in (stems := _stems(file)):
            line = [target.stem if stem == path.stem else stem for stem in stems]
            write_atomic(owned().claim() / file, "\n".join(line) + "\n")
    with contextlib.suppress(FileNotFoundError):
        remove(path)
    return moved


def withdraw(run_name: str) -> bool:
    """Remove a run from the queue; False if it is not queued (any more)."""
    withdrawn = False
    for path in _files():
        if _run_name(path) == run_name and path.suffix == WAITING:
            try:
                remove(path)
                withdrawn = True
            except FileNotFoundError:
                continue
    return withdrawn


def move(run_name: str, place: int) -> bool:
    """Move a run to another position, 0 for the first; False if it is not queued (any more).

    Raises OSError, NotOurs when the data folder cannot be written. The caller must hold the queue's lock, which is in
    keeper/start.py.
    """
    line = [path.stem for path in _files() if path.suffix == WAITING]
    own_stem = next((stem for stem in line if _name_in(stem) == run_name), None)
    if own_stem is None:
        return False
    line.remove(own_stem)
    line.insert(max(0, place), own_stem)
    write_atomic(owned().claim() / ORDER_FILE, "\n".join(line) + "\n")
    return True


def start_regardless(run_name: str) -> bool:
    """Let a run start without waiting for memory; False if it is not queued (any more). Raises OSError.

    Raises NotOurs. Its entry is not rewritten: that could recreate one that was claimed or withdrawn.
    """
    waiting = [path.stem for path in _files()]
    own_stems = [stem for stem in waiting if _name_in(stem) == run_name]
    others = [stem for stem in _stems(REGARDLESS_FILE) if stem in waiting and stem not in own_stems]
    if own_stems:
        write_atomic(owned().claim() / REGARDLESS_FILE, "\n".join((*others, *own_stems)) + "\n")
    return bool(own_stems)


def hold(paused_run: str = "") -> None:
    """Start no runs until `release`; a running one continues. `paused_run`: the run whose pause is the reason.

    Raises OSError.
    """
    mark = identity(RunFolder(paths.runs_dir() / paused_run).lock) if paused_run else ""
    write_atomic(owned().claim() / HELD_FILE, f"{paused_run}\n{mark}" if mark else paused_run)


def release() -> bool:
    """Start runs again; False if the queue was not on hold. Raises OSError."""
    try:
        remove(paths.queue_dir() / HELD_FILE)
    except FileNotFoundError:
        return False
    return True


def is_on_hold() -> bool:
    """Whether the queue is on hold. A paused run that was deleted no longer counts."""
    paused = held_for()
    return (paths.queue_dir() / HELD_FILE).exists() and (not paused or is_folder(paths.runs_dir() / paused))


def held_for() -> str:
    """The run whose pause keeps the queue on hold, by its current name; empty if there is none."""
    try:
        text = guarded.read_text(paths.queue_dir() / HELD_FILE, errors="replace")
    except Unreadable:
        return ""
    paused_run, _, mark = text.partition("\n")
    return find_known(paused_run, mark).name if _can_be_run_name(paused_run) else ""


def _files() -> list[Path]:
    """All entries in order: those with a set position first, then the others by arrival.

    None in a folder that is not ours, whose files no keeper may rename.
    """
    if not owned().is_ours():
        return []
    try:
        files = [path for path in paths.queue_dir().iterdir() if _is_entry(path)]
    except OSError:
        return []
    if len(files) < 2:
        return files
    places = {stem: place for place, stem in enumerate(_stems(ORDER_FILE))}
    return sorted(files, key=lambda path: (places.get(path.stem, len(places)), path.name))


def _is_entry(path: Path) -> bool:
    return path.suffix in (WAITING, CLAIMED) and path.name.partition("-")[0].isdecimal()


def _holds_entries(folder: Path) -> bool:
    """Whether a folder has an entry or a hold file of an earlier version."""
    for path in folder.iterdir():
        try:
            if _is_entry(path):
                guarded.read_json(path, QueueEntry)
                return True
        except Unreadable:
            continue
    others = list(folder.iterdir())
    return bool(others) and all(map(_is_beside_entries, others))


def _is_beside_entries(path: Path) -> bool:
    """Whether a file is one that says how the queue is held, or in which order it goes."""
    try:
        lines = guarded.read_text(path, LARGEST_BESIDE_BYTES).split("\n")
    except Unreadable:
        return False
    if path.name == HELD_FILE:
        return len(lines) <= 2 and "/" not in lines[0]
    is_line = path.name in (ORDER_FILE, REGARDLESS_FILE) and any(lines)
    return is_line and all(re.fullmatch(r"[0-9]{20}-.+|", line) for line in lines)


def _stems(file: str) -> list[str]:
    try:
        return guarded.read_text(paths.queue_dir() / file, errors="replace").split()
    except Unreadable:
        return []


def _run_name(entry: Path) -> str:
    return _name_in(entry.stem)


def _name_in(stem: str) -> str:
    return stem.partition("-")[2]

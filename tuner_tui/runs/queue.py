"""The runs that wait for the card: one small file each, in the order they came or the order that was asked for.

Moving a run writes one small file with the order and leaves the entries where they are, so that no reader can miss
one on its way. A keeper that takes an entry renames it, so that taking and withdrawing cannot both succeed, and
removes it when the run's worker has started, so that a keeper that dies in between loses nothing.
"""

from __future__ import annotations

import contextlib
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
    """A run that waits; `folder` is its path."""

    folder: str
    resume: bool = False
    after: str | None = None
    """The name of a run that must finish first, as it was when this one was put here; see `awaited`."""
    after_lock: str = ""
    """What that run's lock is known by, which finds it also after it was renamed."""
    takes_adapter: bool = False
    """Whether it begins from the adapter of the run that it waits for, which is taken when that has finished."""
    device: str = "auto"
    needs_bytes: int | None = None
    """Memory that must be free on the device before it starts; None where that is not known or not asked for."""
    attempts: int | None = None
    """How many attempts at the run there were when it was put here; with more, a claimed entry was started."""
    lock: str = ""
    """What the run's lock is known by (lock.identity), which finds its folder also after that was renamed."""


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
    """Put a run at the queue's end. Raises OSError when the data folder cannot be written."""
    waiting = owned().claim()
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
    moment = max(time.time_ns(), last + 1)  # the last in line also when the clock was set back
    write_atomic(waiting / f"{moment:020d}-{folder.name}{WAITING}", msgspec.json.encode(entry))


def entries() -> list[tuple[Path, QueueEntry]]:
    """Who waits, the next first; entries that cannot be used are among the `problems`."""
    found = []
    regardless = _stems(REGARDLESS_FILE)
    for path in _files():
        try:
            entry = guarded.read_json(path, QueueEntry)
        except Unreadable:  # gone meanwhile, or among the `problems`
            continue
        if _foreign_name(entry):
            continue
        if path.stem in regardless:
            entry = msgspec.structs.replace(entry, needs_bytes=None)
        found.append((path, entry))
    return found


def problems() -> dict[str, str]:
    """Why the entries that cannot be used cannot, by the runs' names: those never start."""
    found = {}
    for path in _files():
        try:
            if foreign := _foreign_name(guarded.read_json(path, QueueEntry)):
                found[_run_name(path)] = (
                    f"its queue entry names {foreign}, which is no run in {paths.runs_dir()}; take the entry out"
                )
        except Unreadable as error:
            if not error.is_missing:
                found[_run_name(path)] = (
                    f"its queue entry cannot be read ({error.problem}); take it out, then resume the run"
                )
    return found


def _foreign_name(entry: QueueEntry) -> str:
    """What an entry names that no entry of ours does: a folder elsewhere, or a path for the run before it.

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
    """The run that must finish before an entry's, as it is called by now."""
    return None if entry.after is None else find_known(entry.after, entry.after_lock)


def is_queued(run_name: str) -> bool:
    """Whether a run waits, or is being started just now."""
    return any(_run_name(path) == run_name for path in _files())


def is_waiting(run_name: str) -> bool:
    """Whether a run waits and no keeper has begun to start it."""
    return any(_run_name(path) == run_name and path.suffix == WAITING for path in _files())


def queued_names() -> set[str]:
    """The names of all runs that wait or are being started just now, for those who ask about many."""
    return {_run_name(path) for path in _files()}


def owned() -> Owned:
    """The queue's folder, for deleting in it."""
    return Owned(paths.queue_dir(), "queue", _holds_entries)


def remove(entry: Path) -> None:
    """Delete one of the queue's files. Raises FileNotFoundError, NotOurs, OSError."""
    owned().remove(entry)


def claim(entry: Path) -> Path | None:
    """Take an entry to start its run; where the entry is now, or None when it was withdrawn meanwhile."""
    claimed = entry.with_suffix(CLAIMED)
    try:
        entry.rename(claimed)
    except FileNotFoundError:
        return None
    return claimed


def put_back(claimed: Path) -> None:
    """Let a claimed entry wait again, so that it can be withdrawn; where that fails it waits as it is."""
    with contextlib.suppress(OSError):
        claimed.rename(claimed.with_suffix(WAITING))


def follow_moved(path: Path, entry: QueueEntry) -> RunFolder | None:
    """Have an entry name its run's folder as it is called by now; None when there is no such run any more.

    Its place in line is kept. Raises OSError.
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
            write_atomic(paths.queue_dir() / file, "\n".join(line) + "\n")
    with contextlib.suppress(FileNotFoundError):
        remove(path)
    return moved


def withdraw(run_name: str) -> bool:
    """Take a run out of the queue; False when it did not wait (any more)."""
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
    """Give a run another place in line, 0 for the first; False when it does not wait (any more).

    Raises OSError when the data folder cannot be written. Only one may move at a time (keeper/start.py sees to it).
    """
    line = [path.stem for path in _files() if path.suffix == WAITING]
    mine = next((stem for stem in line if _name_in(stem) == run_name), None)
    if mine is None:
        return False
    line.remove(mine)
    line.insert(max(0, place), mine)
    write_atomic(paths.queue_dir() / ORDER_FILE, "\n".join(line) + "\n")
    return True


def start_regardless(run_name: str) -> bool:
    """Have a run wait for no memory any more; False when it does not wait (any more). Raises OSError.

    Its entry is left as it is: one written anew could come back after it was taken, or withdrawn.
    """
    waiting = [path.stem for path in _files()]
    mine = [stem for stem in waiting if _name_in(stem) == run_name]
    kept = [stem for stem in _stems(REGARDLESS_FILE) if stem in waiting and stem not in mine]
    if mine:
        write_atomic(paths.queue_dir() / REGARDLESS_FILE, "\n".join((*kept, *mine)) + "\n")
    return bool(mine)


def hold(paused_run: str = "") -> None:
    """Let nothing start until `go_on`; what runs is not touched. Names the run whose pause this is for, if any.

    Raises OSError.
    """
    mark = identity(RunFolder(paths.runs_dir() / paused_run).lock) if paused_run else ""
    write_atomic(owned().claim() / HELD_FILE, f"{paused_run}\n{mark}" if mark else paused_run)


def go_on() -> bool:
    """Let runs start again; False when they were not held. Raises OSError."""
    try:
        remove(paths.queue_dir() / HELD_FILE)
    except FileNotFoundError:
        return False
    return True


def is_on_hold() -> bool:
    """Whether nothing is to start. A paused run that was deleted holds nothing any more."""
    paused = held_for()
    return (paths.queue_dir() / HELD_FILE).exists() and (not paused or is_folder(paths.runs_dir() / paused))


def held_for() -> str:
    """The run whose pause keeps the queue on hold, as it is called by now; empty when there is none."""
    try:
        text = guarded.read_text(paths.queue_dir() / HELD_FILE, errors="replace")
    except Unreadable:
        return ""
    paused_run, _, mark = text.partition("\n")
    return find_known(paused_run, mark).name if _can_be_run_name(paused_run) else ""


def _files() -> list[Path]:
    """All entries in order: those that were given a place first, then the others as they came."""
    try:
        found = [path for path in paths.queue_dir().iterdir() if _is_entry(path)]
    except OSError:
        return []
    if len(found) < 2:
        return found
    places = {stem: place for place, stem in enumerate(_stems(ORDER_FILE))}
    return sorted(found, key=lambda path: (places.get(path.stem, len(places)), path.name))


def _is_entry(path: Path) -> bool:
    return path.suffix in (WAITING, CLAIMED) and path.name.partition("-")[0].isdecimal()


def _holds_entries(folder: Path) -> bool:
    """Whether one of the files in a folder is an entry that an earlier version made, or there is a held queue's."""
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

"""The runs that wait for the card: one small file each, in order of name.

A keeper that takes an entry renames it, so that taking and withdrawing cannot both succeed, and removes it when the
run's worker has started, so that a keeper that dies in between loses nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config import paths
from tuner_tui.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

WAITING, CLAIMED = ".json", ".claimed"


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A run that waits; `folder` is its path."""

    folder: str
    resume: bool = False


def enqueue(folder: RunFolder, resume: bool = False) -> None:
    """Put a run at the queue's end. Raises OSError when the data folder cannot be written."""
    waiting = paths.queue_dir()
    waiting.mkdir(parents=True, exist_ok=True)
    entry = QueueEntry(folder=str(folder.path), resume=resume)
    write_atomic(waiting / f"{time.time_ns():020d}-{folder.name}{WAITING}", msgspec.json.encode(entry))


def entries() -> list[tuple[Path, QueueEntry]]:
    """Who waits, the next first; files that are no entry are passed over."""
    found = []
    for path in _files():
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=QueueEntry)))
        except (ValueError, OSError):  # not JSON, not UTF-8, gone meanwhile
            continue
    return found


def is_queued(run_name: str) -> bool:
    """Whether a run waits, or is being started just now."""
    return any(_run_name(path) == run_name for path in _files())


def queued_names() -> set[str]:
    """The names of all runs that wait or are being started just now, for those who ask about many."""
    return {_run_name(path) for path in _files()}


def claim(entry: Path) -> Path | None:
    """Take an entry to start its run; where the entry is now, or None when it was withdrawn meanwhile."""
    claimed = entry.with_suffix(CLAIMED)
    try:
        entry.rename(claimed)
    except FileNotFoundError:
        return None
    return claimed


def withdraw(run_name: str) -> bool:
    """Take a run out of the queue; False when it did not wait (any more)."""
    withdrawn = False
    for path in _files():
        if _run_name(path) == run_name and path.suffix == WAITING:
            try:
                path.unlink()
                withdrawn = True
            except FileNotFoundError:
                continue
    return withdrawn


def _files() -> list[Path]:
    try:
        found = list(paths.queue_dir().iterdir())
    except OSError:
        return []
    return sorted(path for path in found if path.suffix in (WAITING, CLAIMED) and path.name[0] != ".")


def _run_name(entry: Path) -> str:
    return entry.stem.partition("-")[2]

"""The runs that wait for the card: one small file each, in order of name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config import paths
from tuner_tui.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A run that waits; `folder` is its path."""

    folder: str
    resume: bool = False


def enqueue(folder: RunFolder, resume: bool = False) -> None:
    """Put a run at the queue's end. Raises OSError when the data folder cannot be written."""
    waiting = paths.queue_dir()
    waiting.mkdir(parents=True, exist_ok=True)
    entry = QueueEntry(folder=str(folder.path), resume=resume)
    write_atomic(waiting / f"{time.time_ns():020d}-{folder.name}.json", msgspec.json.encode(entry))


def entries() -> list[tuple[Path, QueueEntry]]:
    """Who waits, the next first; files that are no entry are passed over."""
    found = []
    for path in _files():
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=QueueEntry)))
        except (msgspec.DecodeError, OSError):
            continue
    return found


def is_queued(run_name: str) -> bool:
    """Whether a run waits."""
    return any(path.name.endswith(f"-{run_name}.json") for path in _files())


def withdraw(run_name: str) -> bool:
    """Take a run out of the queue; False when it did not wait (any more)."""
    withdrawn = False
    for path in _files():
        if path.name.endswith(f"-{run_name}.json"):
            try:
                path.unlink()
                withdrawn = True
            except FileNotFoundError:
                continue
    return withdrawn


def _files() -> list[Path]:
    try:
        return sorted(
            path for path in paths.queue_dir().iterdir() if path.suffix == ".json" and path.name[0] != "."
        )
    except OSError:
        return []

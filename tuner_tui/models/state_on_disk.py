"""What is on this machine of a model or of data files now, to see whether that changed since it was read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.files import entries, expanded
from tuner_tui.models.dequantised import owned_tokenizers
from tuner_tui.models.source import find_source

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_FOLDER = 500
"""Entries of a folder that are compared."""
Mark = tuple[tuple[str, int, int], ...]
"""Path, bytes and time of change in nanoseconds of each file."""


def mark_of_model(source: str, revision: str | None = None) -> Mark:
    """The model's files here, and of a GGUF file the tokenizers that were extracted; empty for none."""
    try:
        model = find_source(source, revision)
    except TunerError:
        return ()
    extracted = (paths.dequantised_dir(), owned_tokenizers().folder) if model.kind == "gguf" else ()
    return (*mark_of_path(model.path), *(mark for folder in extracted for mark in _marks(folder, True)))


def mark_of_path(path: Path | None) -> Mark:
    """A file, or the files directly in a folder; empty for none."""
    return () if path is None else tuple(_marks(expanded(path)))


def _marks(path: Path, with_folders: bool = False) -> Iterator[tuple[str, int, int]]:
    try:
        for entry in sorted(entries(path, LARGEST_FOLDER)) if path.is_dir() else [path]:
            status = entry.stat()
            if with_folders or not entry.is_dir():
                yield str(entry), status.st_size, status.st_mtime_ns
    except OSError:  # there is none, or it is being replaced
        return

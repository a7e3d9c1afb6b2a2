"""The cache of tokenised data sets: where it is, what it holds, and clearing it. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tuner_tui import guarded
from tuner_tui.config.paths import cache_dir, is_usual_cache
from tuner_tui.files import entries, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.owned import Layout, Owned

SUFFIX = ".tokens.arrow"
ARROW_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class TokenisedEntry:
    """One tokenised data set."""

    key: str
    path: Path
    size_bytes: int
    source: str
    """What it was made of."""
    made_at: float


def folder() -> Path:
    """Where tokenised data sets are stored."""
    return cache_dir() / "tokens"


def owned() -> Owned:
    """That folder, for deleting in it."""
    return Owned(folder(), "tokens", layout=LAYOUT, may_be_older=is_usual_cache())


def _was_made(path: Path) -> bool:
    if path.suffix == ".json":
        return guarded.read_json(path, dict).keys() == {"source"}
    with guarded.open_regular(path) as file:
        return file.read(len(ARROW_MAGIC)) == ARROW_MAGIC


LAYOUT = Layout(r"[0-9a-f]{32}\.tokens\.(arrow|json)", Path.is_file, _was_made)


def list_entries() -> list[TokenisedEntry]:
    """All tokenised data sets, the newest first."""
    found = []
    for path in entries(folder(), 100_000):
        if not path.name.endswith(SUFFIX) or path.name.startswith("."):
            continue
        try:
            state = path.stat()
        except OSError:
            continue
        key = path.name.removesuffix(SUFFIX)
        found.append(TokenisedEntry(key, path, state.st_size, _source(path), state.st_mtime))
    return sorted(found, key=lambda entry: -entry.made_at)


def describe(path: Path, source: str) -> None:
    """Note beside an entry what it was made of."""
    write_atomic(path.with_suffix(".json"), json.dumps({"source": source}))


def _source(path: Path) -> str:
    try:
        return str(json.loads(guarded.read_bytes(path.with_suffix(".json")))["source"])
    except (Unreadable, ValueError, RecursionError, KeyError, TypeError):
        return "unknown"


def clear() -> int:
    """Remove all entries, with leftovers of interrupted work; gives the bytes that were freed."""
    freed = 0
    for path in owned().entries():
        try:
            freed += path.stat().st_size
            owned().remove(path)
        except OSError:
            continue
    return freed

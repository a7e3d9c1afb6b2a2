"""SHA-256 of files, and the list of them that goes with an export (`sha256sum -c SHA256SUMS` checks it)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.files import write_atomic
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

SUMS = "SHA256SUMS"
BLOCK_BYTES = 1 << 20


def sha256(path: Path, read: Callable[[int], object] = lambda done: None) -> str:
    """A file's SHA-256 in hexadecimal; `read` gets the number of bytes read so far.

    Raises Unreadable, or OSError while it is read.
    """
    digest, done = hashlib.sha256(), 0
    with guarded.open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            read(done)
    return digest.hexdigest()


def matches_sums(folder: Path, beside: Collection[str] = ()) -> bool:
    """Whether a folder has exactly the listed files, unchanged; `beside` names allowed extra files."""
    try:
        lines = guarded.read_text(folder / SUMS).splitlines()
        wanted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if wanted.keys() - set(beside) != files.keys() - {SUMS, *beside}:
            return False
        return all(sha256(files[name]) == digest for name, digest in wanted.items() if name not in beside)
    except (OSError, Unreadable):
        return False


def write_sums(folder: Path) -> None:
    """List the SHA-256 of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_atomic(folder / SUMS, "".join(lines), is_private=False)

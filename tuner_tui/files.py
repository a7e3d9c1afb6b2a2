"""Files that other processes read while we write them: atomic writes, and following one that grows."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from typing import BinaryIO

LONGEST_LINE_BYTES = 16 << 20
"""A line of ours is a few kilobytes; what is longer is not kept in memory."""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one, never a part.

    Raises OSError (disk full, read-only folder); nothing is left behind then.
    """
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~_umask())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _umask() -> int:
    """The rights that new files are not given; the system tells only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make renames within a folder outlive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except OSError:
            continue
    return total


def entries(folder: Path, most: int) -> list[Path]:
    """What a folder holds, at most so many entries; empty when it cannot be read."""
    try:
        return list(itertools.islice(folder.iterdir(), most))
    except OSError:
        return []


def last_lines(path: Path, count: int, within_bytes: int = 256 * 1024) -> list[str]:
    """The last lines of a text file, the oldest first; empty when it cannot be read."""
    try:
        with guarded.open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - within_bytes))
            lines = file.read(within_bytes).decode("utf-8", "replace").splitlines()
    except (OSError, Unreadable):
        return []
    return [line.rstrip() for line in lines[-count:]]


class LineFollower:
    """Reads the whole lines that a growing file has gained since the last look; a torn last line waits."""

    def __init__(self, path: Path, chunk_bytes: int = 4 << 20) -> None:
        self.path = path
        self.skipped_lines = 0
        """Lines longer than LONGEST_LINE_BYTES, which were left out."""
        self._chunk_bytes = chunk_bytes
        self._position = 0
        self._is_skipping = False

    def read(self) -> bytes:
        """The next whole lines, at most about one chunk; empty when there is nothing new, or no file (yet).

        Raises Unreadable for what cannot be read as a file.
        """
        try:
            with guarded.open_regular(self.path) as file:
                file.seek(0, os.SEEK_END)
                if file.tell() < self._position:  # the file was replaced by a shorter one
                    self._position = 0
                    self._is_skipping = False
                return self._next_lines(file)
        except Unreadable as error:
            if error.is_missing:
                return b""
            raise
        except OSError as error:
            raise guarded.unreadable(self.path, error) from None

    def _next_lines(self, file: BinaryIO) -> bytes:
        if self._is_skipping and not self._skip(file):
            return b""
        file.seek(self._position)
        parts: list[bytes] = []
        length = 0
        while data := file.read(self._chunk_bytes):
            parts.append(data)
            length += len(data)
            if b"\n" in data:
                break
            if length > LONGEST_LINE_BYTES:
                self.skipped_lines += 1
                self._is_skipping = True
                return self._next_lines(file)
        else:  # the end of the file, in the middle of a line
            return b""
        lines = b"".join(parts)
        end = lines.rfind(b"\n") + 1
        self._position += end
        return lines[:end]

    def _skip(self, file: BinaryIO) -> bool:
        """Move on to the end of a line that is too long; False when that is not written yet."""
        file.seek(self._position)
        while data := file.read(self._chunk_bytes):
            line_end = data.find(b"\n")
            self._position += len(data) if line_end < 0 else line_end + 1
            if line_end >= 0:
                self._is_skipping = False
                return True
        return False

"""Reads the header of a GGUF file on the Hub in pieces: with the vocabulary it has some megabytes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, BinaryIO, cast

from tuner_tui.errors import InputError
from tuner_tui.models.gguf_header import GgufHeader, read_gguf_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    ReadRange = Callable[[int, int], tuple[bytes, int | None]]
    """(start, count) to (bytes, the file's size if known)."""

PIECE_BYTES = 1 << 20
LARGEST_HEADER = 64 << 20
"""Far more than any vocabulary needs."""
TYPES = ("bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m")
"""Preferred types of several files; all have the same tensors."""
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def chosen_gguf(names: Iterable[str]) -> str | None:
    """The file of a repository with a complete model; None if there is none."""
    complete = sorted(
        name
        for name in names
        if name.lower().endswith(".gguf") and not _PART.search(name) and "mmproj" not in name.lower()
    )

    def rank(name: str) -> int:
        return next((place for place, kind in enumerate(TYPES) if kind in name.lower()), len(TYPES))

    return min(complete, key=rank, default=None)


def read_remote_gguf(where: str, read_range: ReadRange) -> GgufHeader:
    """A GGUF header from a file's first pieces. Raises InputError for other files, and for an endless header."""
    data, size = read_range(0, PIECE_BYTES)
    if size is None:
        raise InputError("The file's size is unknown", f"{where}: the server does not report it.")
    return read_gguf_file(where, cast("BinaryIO", _Pieces(where, data, read_range)), size)


class _Pieces(io.RawIOBase):
    """A file that is downloaded as far as it is read."""

    def __init__(self, where: str, start: bytes, read_range: ReadRange) -> None:
        super().__init__()
        self._where, self._data, self._read_range, self._at = where, bytearray(start), read_range, 0

    def read(self, count: int = -1) -> bytes:
        end = self._at + count
        if end > LARGEST_HEADER:
            raise InputError("Not a valid GGUF file", f"{self._where}: its header never ends.")
        while end > len(self._data):
            piece, _ = self._read_range(len(self._data), max(PIECE_BYTES, end - len(self._data)))
            if not piece:
                break
            self._data += piece
        data = bytes(self._data[self._at : end])
        self._at += len(data)
        return data

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self._at = place + (self._at if whence == io.SEEK_CUR else 0)
        return self._at

    def tell(self) -> int:
        return self._at

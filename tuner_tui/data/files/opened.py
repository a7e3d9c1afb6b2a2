"""Opening a data file so that nothing it is can hang, flood or fool the reader."""

from __future__ import annotations

import io
import os
import re
import stat
import zlib
from typing import IO, TYPE_CHECKING, Any, Literal

from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.text import size

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import WriteableBuffer

Packing = Literal["gzip", "zstd"]

LARGEST_ROW_BYTES = 32 << 20
"""A row beyond this is no text to learn from; the longest contexts that models have are some 4 MB."""
BOMB_RATIO = 200
"""How many times larger than its file unpacked data may become ..."""
BOMB_FREE_BYTES = 1 << 29
"""... once it is beyond this."""
HEAD_BYTES = 1 << 16
"""The first bytes, by which format, encoding and compression are recognised."""
_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class UnpackedStream(io.RawIOBase):
    """The bytes of a packed file; a decompression bomb or a truncated file is an InputError that names the file."""

    def __init__(self, path: Path, packing: Packing) -> None:
        import pyarrow as pa

        self._path, self._packing = path, packing
        self._packed_bytes = path.stat().st_size
        self._unpacked_bytes = 0
        self._file = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._file, packing)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._stream.read(len(view))
        except (OSError, zlib.error, ValueError) as error:
            raise InputError(
                "The file cannot be unpacked",
                f"{self._path}: {_first_line(error)} (after {size(self._unpacked_bytes)}).",
                f"The {self._packing} file is damaged or truncated; fetch or pack it again.",
            ) from error
        view[: len(data)] = data
        self._unpacked_bytes += len(data)
        require_plausible(self._path, self._packed_bytes, self._unpacked_bytes)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()


def require_plausible(path: Path, stored_bytes: int, unpacked_bytes: int) -> None:
    """Raise InputError when a file has become far larger than packing makes rows of text small."""
    allowed = max(BOMB_FREE_BYTES, stored_bytes * BOMB_RATIO)
    if unpacked_bytes > allowed:
        raise InputError(
            "The file unpacks to far more than it should",
            f"{path}: {size(stored_bytes)} became more than {size(allowed)}.",
            "Unpack it yourself if you trust it (rows as JSONL), and name the unpacked file.",
        )


def require_file(path: Path) -> os.stat_result:
    """The state of a regular file. Raises NotFoundError, or InputError for pipes, devices and folders."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            "No such data file",
            str(path),
            "Check the path; in a run.toml a relative path counts from that file.",
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError("The data file cannot be read", f"{path}: {reason}.") from error
    if not stat.S_ISREG(state.st_mode):
        kind = next((word for test, word in _KINDS if test(state.st_mode)), "something else")
        raise InputError(
            "Not a data file",
            f"{path} is not a regular file but {kind}.",
            "Save the rows into a file first."
            if kind != "a folder"
            else "Name a file, or a folder of data files.",
        )
    return state


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def packing_of(path: Path) -> Packing | None:
    """How a file is packed, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    return "zstd" if start == b"\x28\xb5\x2f\xfd" else None


def open_bytes(path: Path) -> IO[bytes]:
    """The unpacked bytes of a regular file. Raises InputError or OSError."""
    packing = packing_of(path)
    if packing is None:
        return path.open("rb", buffering=1 << 18)
    return io.BufferedReader(UnpackedStream(path, packing), 1 << 18)


def open_utf8(path: Path, encoding: str | None = None) -> IO[bytes]:
    """A text file's unpacked bytes as UTF-8 without a byte order mark, whatever its encoding is.

    `encoding` names another one; UTF-16 and UTF-32 are recognised by their byte order mark. Raises InputError and
    OSError.
    """
    stream = open_bytes(path)
    try:
        start = stream.peek(4)[:4]  # type: ignore[attr-defined]
        mark, found = next(((mark, name) for mark, name in _MARKS if start.startswith(mark)), (b"", "utf-8"))
        named = encoding or found
        if named.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii"):
            if mark and found == "utf-8":
                stream.read(len(mark))
            return stream
        return _as_utf8(stream, named, path)
    except BaseException:
        stream.close()
        raise


def _as_utf8(stream: IO[bytes], encoding: str, path: Path) -> IO[bytes]:
    try:
        text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    except LookupError as error:
        raise InputError(
            "Unknown encoding",
            f"{path}: {encoding!r}.",
            "Name one such as cp1252, utf-16 or shift_jis.",
        ) from error
    return io.BufferedReader(_Recoded(text, path, encoding), 1 << 18)


class _Recoded(io.RawIOBase):
    """Text of another encoding as a stream of UTF-8."""

    def __init__(self, text: io.TextIOWrapper, path: Path, encoding: str) -> None:
        self._text, self._path, self._encoding = text, path, encoding
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not self._rest:
            try:
                self._rest = self._text.read(len(view) // 4 or 1).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise InputError(
                    "The file is not in the encoding that was named",
                    f"{self._path}: {self._encoding}: {error.reason} near byte {error.start}.",
                    "Set data.encoding to the file's own, or leave it out for UTF-8.",
                ) from error
        part, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(part)] = part
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._text.close()
        super().close()


_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_WITHIN_WORDS = re.compile(rb"[A-Za-z][\x80-\xff]{1,2}(?![\x80-\xff])")
_MULTIBYTE = (
    "big5",
    "gb",
    "hz",
    "shift_j",
    "euc_",
    "johab",
    "cp932",
    "cp949",
    "cp950",
    "iso2022",
    "utf_16",
    "utf_32",
)
"""How the names of encodings begin in which most letters take several bytes."""


def not_utf8(path: Path, number: int | None, sample: bytes) -> InputError:
    """The error for bytes that are not valid UTF-8, with the encoding that they look like."""
    where = str(path) if number is None else f"{path}:{number}"
    guess = guess_encoding(sample)
    hint = (
        f'If it is {guess}: --encoding {guess}, or data.encoding = "{guess}" in run.toml.'
        if guess
        else "Name the file's encoding: --encoding, or data.encoding in run.toml."
    )
    return InputError("The text is not UTF-8", f"{where}: not valid UTF-8.", hint)


def guess_encoding(sample: bytes) -> str | None:
    """The encoding that bytes look like, by the words they would make; None when nothing fits."""
    import charset_normalizer

    best: Any = charset_normalizer.from_bytes(sample[:HEAD_BYTES]).best()
    name = best.encoding if best else None
    if name in (None, "utf_8", "ascii"):
        return None
    if str(name).startswith(_MULTIBYTE) and _are_within_words(sample):
        return "cp1252"  # a few bytes are told from words, of which a short sample has too few
    return str(name)


def _are_within_words(sample: bytes) -> bool:
    """Whether bytes beyond ASCII stand one or two at a time after ASCII letters, as in western languages."""
    runs = _BEYOND_ASCII.findall(sample)
    return bool(runs) and len(_WITHIN_WORDS.findall(sample)) >= 0.8 * len(runs)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def state_key(state: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written to."""
    return state.st_ino, state.st_size, state.st_mtime_ns


def require_unchanged(path: Path, before: os.stat_result, number: int) -> None:
    """Raise InputError when a file has grown, shrunk or gone since it was opened."""
    try:
        now = path.stat()
    except OSError as error:
        raise InputError(
            "The data file is gone",
            f"{path}:{number}: it was removed while it was read.",
            "Put it back, and read it again.",
        ) from error
    if state_key(now) != state_key(before):
        raise InputError(
            "The data file changes while it is read",
            f"{path}:{number}: {size(before.st_size)} at the beginning, {size(now.st_size)} at the end.",
            "Wait until it is written completely, and read it again.",
        )


def too_large(path: Path, number: int) -> InputError:
    """The error for a row beyond what is read."""
    return InputError(
        "A row is too large",
        f"{path}:{number}: it is larger than {size(LARGEST_ROW_BYTES)}.",
        "Remove or split it; the file's line ends may also be missing.",
    )

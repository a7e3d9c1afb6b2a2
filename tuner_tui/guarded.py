"""Safe reading of files that other processes or users may have changed.

A pipe, a device or a folder in place of the file never blocks, an endless file never fills the memory, and every
problem becomes an `Unreadable` with a message, so that one bad file never hides the others.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from typing import TYPE_CHECKING, Any, TypeVar

from tuner_tui.errors import InputError
from tuner_tui.text import plain

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

T = TypeVar("T")

LARGEST_BYTES = 16 << 20
"""Our small files have a few kilobytes; larger ones are rejected."""
LONGEST_REASON = 200
NESTED_TOO_DEEPLY = "it is nested too deeply"


class Unreadable(InputError):
    """A file that cannot be read or has invalid content; `problem` is the reason in a few words, without the path."""

    def __init__(
        self, path: Path, problem: str, *, is_missing: bool = False, is_folder: bool = False, hint: str = ""
    ) -> None:
        super().__init__(
            "The file cannot be read", f"{plain(str(path))}: {problem}.", hint or _hint(is_missing)
        )
        self.path = path
        self.problem = problem
        self.is_missing = is_missing
        self.is_folder = is_folder

    @property
    def named_problem(self) -> str:
        """The problem with the file's name, such as `plan.json: it is a folder, not a file`."""
        return f"{plain(self.path.name)}: {self.problem}"


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading bytes. Raises Unreadable for anything but a regular file, without blocking."""
    try:
        _require_regular(path, path.stat())  # before opening: opening some devices has effects
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        _require_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """A file's content. Raises Unreadable, also for a file with more than `largest_bytes`."""
    with open_regular(path) as file:
        try:
            content = file.read(largest_bytes + 1)
        except OSError as error:
            raise unreadable(path, error) from None
    if len(content) > largest_bytes:
        raise Unreadable(path, f"it has more than {_in_units(largest_bytes)}")
    return content


def read_text(path: Path, largest_bytes: int = LARGEST_BYTES, errors: str = "strict") -> str:
    """A file's content as UTF-8 text, without a byte order mark. Raises Unreadable, which names the line."""
    content = read_bytes(path, largest_bytes).removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(path, f"line {line} is not UTF-8 text", hint="Save the file as UTF-8.") from None


def read_json(path: Path, kind: type[T], largest_bytes: int = LARGEST_BYTES) -> T:
    """A file's content as JSON of this type. Raises Unreadable, which names the mismatch."""
    return decode_json(read_bytes(path, largest_bytes), kind, path)


def decode_json(content: bytes, kind: type[T], path: Path) -> T:
    """JSON that was read from `path`, as this type. Raises Unreadable, which names the mismatch."""
    import msgspec

    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, json_problem(error)) from None


def read_toml(path: Path, largest_bytes: int = LARGEST_BYTES) -> dict[str, Any]:
    """The tables of a TOML file. Raises Unreadable, which names the line."""
    import tomllib

    try:
        return tomllib.loads(read_text(path, largest_bytes))
    except RecursionError:
        raise Unreadable(path, NESTED_TOO_DEEPLY) from None
    except ValueError as error:  # not TOML, or a number with too many digits
        raise Unreadable(path, f"it is not TOML ({_short(str(error))})") from None


def json_problem(error: ValueError | RecursionError) -> str:
    """The problem of a JSON text, from msgspec's error."""
    import msgspec

    if isinstance(error, RecursionError):
        return NESTED_TOO_DEEPLY
    if isinstance(error, msgspec.ValidationError):
        return f"its content does not fit ({_short(str(error))})"
    return f"it is not JSON ({_short(str(error))})"


def unreadable(path: Path, error: OSError | ValueError | Unreadable) -> Unreadable:
    """The Unreadable for an error that opening or reading a file raised."""
    if isinstance(error, Unreadable):
        return error
    if not isinstance(error, OSError):
        return Unreadable(path, "it is not a valid file name")
    if isinstance(error, FileNotFoundError):
        return Unreadable(path, "it is missing", is_missing=True)
    if isinstance(error, PermissionError):
        return Unreadable(path, "there is no permission to read it", hint="Allow it with: chmod u+r")
    if error.errno == errno.ELOOP:
        return Unreadable(path, "it is a symlink loop")
    reason = error.strerror or str(error)
    return Unreadable(path, reason[:1].lower() + reason[1:])


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
    raise Unreadable(path, f"it is a {kind}, not a file", is_folder=kind == "folder")


def _hint(is_missing: bool) -> str:
    return "" if is_missing else "Move it away, or replace it with a good copy."


def _in_units(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count:,} bytes"


def _short(reason: str) -> str:
    shown = plain(reason)
    return shown if len(shown) <= LONGEST_REASON else shown[: LONGEST_REASON - 1] + "…"

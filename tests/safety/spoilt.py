"""Ways in which a file can be spoilt by another process or a person, all harmless to read with care."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UTF_16 = ("hello\n" * 50).encode("utf-16")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inner").write_text("x")


def _socket(path: Path) -> None:
    """Bound by a short relative name, since the names of sockets are limited."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def _holding(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _unreadable(path: Path) -> None:
    path.write_text("secret")
    path.chmod(0)


WAYS: dict[str, Callable[[Path], None]] = {
    "a folder": _folder,
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a loop of symlinks": lambda path: path.symlink_to(path.name),
    "a dangling symlink": lambda path: path.symlink_to("nowhere"),
    "without permission": _unreadable,
    "binary garbage": _holding(bytes(range(256)) * 64),
    "nested too deeply": _holding(b"[" * 200_000 + b"\n"),
    "nested objects": _holding(b'{"a":' * 200_000 + b"\n"),
    "nested TOML": _holding(b"a = " + b"[" * 100_000 + b"\n"),
    "one huge line": _holding(b"x" * (20 << 20)),
    "only zeros": _holding(bytes(1 << 16)),
    "UTF-16": _holding(UTF_16),
    "another JSON": _holding(b'{"event": 5, "at": "noon", "text": 5}\n'),
    "a long number": _holding(b"1" * 10_000 + b"\n"),
}


def spoil(path: Path, way: str) -> None:
    """Put something else in the file's place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    WAYS[way](path)


@contextlib.contextmanager
def permissions_count() -> Iterator[None]:
    """Have this thread, and those it starts, refused what a file's permissions refuse, also as root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, without = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    for data in (before, without):
        assert libc.capget(header, data) == 0
    without[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of those in effect
    assert libc.capset(header, without) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0

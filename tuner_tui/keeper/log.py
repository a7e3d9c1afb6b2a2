"""The keeper's log; writing to it never raises, even on a full disk."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback


class ToleratedOutput(io.TextIOBase):
    """Writes to a descriptor without buffering; write errors are ignored."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]
        return len(text)


def tolerate_output() -> None:
    """Replace stdout and stderr, so that printing never raises in this process."""
    sys.stdout = ToleratedOutput(1)
    sys.stderr = ToleratedOutput(2)


def say(words: str) -> None:
    """Write one line."""
    with contextlib.suppress(OSError):
        print(words, flush=True)  # noqa: T201


def log_exception() -> None:
    """Write the traceback of the current exception."""
    with contextlib.suppress(OSError):
        traceback.print_exc()

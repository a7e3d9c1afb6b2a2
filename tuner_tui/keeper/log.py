"""The keeper's log: what is said there never raises, whatever the disk says to it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback


class ToleratedOutput(io.TextIOBase):
    """Writes to a descriptor at once; what cannot be written is lost, and nobody is stopped by that."""

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
    """Have everything that this process prints, libraries and tracebacks included, go out this way."""
    sys.stdout = ToleratedOutput(1)
    sys.stderr = ToleratedOutput(2)


def say(words: str) -> None:
    """One line."""
    with contextlib.suppress(OSError):
        print(words, flush=True)  # noqa: T201


def say_trouble() -> None:
    """The traceback of the exception that is being handled."""
    with contextlib.suppress(OSError):
        traceback.print_exc()

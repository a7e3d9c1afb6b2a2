"""Appends complete lines to events.jsonl, also after a writer that crashed in the middle of a line."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from tuner_tui.files import open_descriptor
from tuner_tui.runs.events import Event, encode

if TYPE_CHECKING:
    from pathlib import Path


def append_event(path: Path, event: Event) -> None:
    """Open the file, append one event and close it. Raises OSError."""
    writer = EventWriter(path)
    try:
        writer.write(event)
    finally:
        writer.close()


class EventWriter:
    """Appends events as complete lines; thread-safe."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._is_incomplete = False
        try:
            self._end_incomplete_line()
        except OSError:
            self.close()
            raise

    def write(self, event: Event) -> None:
        """Append one event. Raises OSError; the next write then ends the incomplete line."""
        line = encode(event)
        with self._lock:
            if self._is_incomplete:
                line = b"\n" + line
            self._is_incomplete = True
            while line:  # a full disk writes a part, then raises
                line = line[os.write(self._descriptor, line) :]
            self._is_incomplete = False

    def close(self) -> None:
        os.close(self._descriptor)

    def _end_incomplete_line(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")

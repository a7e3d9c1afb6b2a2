"""The child's side: sets its own limits, answers requests until stdin ends, and reports failures."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from tuner_tui.errors import InputError
from tuner_tui.limited.frames import ALIVE, END, FAULT, HEADER, REPLY, Fault, FaultKind, frame
from tuner_tui.parent import leave_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ALIVE_SECONDS = 1.0
"""Interval at which the child reports progress while steps end."""
FLUSH_BYTES = 1 << 16


class TimeUp(BaseException):
    """A step exceeded its CPU time; not an `Exception`, so that no handler catches it."""


class ItemRefused(InputError):
    """An error of one item of a request; `place` counts from 0."""

    def __init__(self, title: str, message: str = "", hint: str = "", *, place: int = 0) -> None:
        super().__init__(title, message, hint)
        self.place = place


class Watch:
    """Limits the CPU time of each step, and reports progress to the parent."""

    def __init__(self, seconds: float, out: BinaryIO) -> None:
        self.what = ""
        self.place = 0
        self._seconds, self._out = seconds, out
        self._unflushed, self._flushed_at = 0, time.monotonic()
        self._longest = 2 * seconds * (os.cpu_count() or 1) + 60
        signal.signal(signal.SIGPROF, _time_is_up)
        signal.signal(
            signal.SIGVTALRM, signal.SIG_DFL
        )  # ends the process even within a call that never returns

    @contextlib.contextmanager
    def step(self, what: str, place: int = 0) -> Iterator[None]:
        """Run one limited step; `what` names the file and the step in errors. Raises TimeUp within it."""
        self.what, self.place = what, place
        if time.monotonic() - self._flushed_at > ALIVE_SECONDS:
            self.write(ALIVE)
            self.flush()
        signal.setitimer(signal.ITIMER_VIRTUAL, self._longest)
        signal.setitimer(signal.ITIMER_PROF, self._seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def write(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a frame; small frames in quick succession are sent together."""
        self._out.write(frame(kind, payload))
        self._unflushed += len(payload)
        if self._unflushed > FLUSH_BYTES or time.monotonic() - self._flushed_at > ALIVE_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._out.flush()
        self._unflushed, self._flushed_at = 0, time.monotonic()


def _time_is_up(*_: object) -> None:
    raise TimeUp


def serve(handle: Callable[[bytes, Watch], Iterable[bytes]], arguments: list[str]) -> None:
    """Answer each request on stdin with the results of `handle`, until stdin ends.

    `arguments` are the parent's process ID, the time limit of a step in seconds, and the memory limit in bytes.
    """
    parent, seconds, memory = int(arguments[0]), float(arguments[1]), int(arguments[2])
    leave_with_parent(parent)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent decides when the child ends
        signal.signal(ignored, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 18)
    os.dup2(2, 1)  # keeps output of libraries out of the answers
    _limit(memory)
    watch = Watch(seconds, out)
    while request := _next_request(sys.stdin.buffer):
        _answer(handle, request, watch)


def _limit(memory: int) -> None:
    """Limit memory, and prevent the child from writing files."""
    for kind, most in (("RLIMIT_DATA", memory), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        with contextlib.suppress(OSError, ValueError):  # a lower limit may already be set
            resource.setrlimit(getattr(resource, kind), (most, most))


def _next_request(stdin: BinaryIO) -> bytes:
    header = stdin.read(HEADER.size)
    if len(header) < HEADER.size:
        return b""
    return stdin.read(HEADER.unpack(header)[1])


def _answer(handle: Callable[[bytes, Watch], Iterable[bytes]], request: bytes, watch: Watch) -> None:
    watch.what, watch.place = "", 0
    try:
        for reply in handle(request, watch):
            watch.write(REPLY, reply)
        ending = (END, b"")
    except TimeUp:
        ending = _fault("time", watch)
    except MemoryError:
        ending = _fault("memory", watch)
    except ItemRefused as error:
        ending = _fault("input", watch, error, error.place)
    except InputError as error:
        ending = _fault("input", watch, error, watch.place)
    except Exception as error:  # the parent names the file; a library's error is reported in one line
        message = (str(error).splitlines() or [""])[0][:500] or type(error).__name__
        ending = _fault("crash", watch, InputError("", message))
    watch.write(*ending)
    watch.flush()


def _fault(
    kind: FaultKind, watch: Watch, error: InputError | None = None, place: int = -1
) -> tuple[bytes, bytes]:
    fields: dict[str, Any] = (
        {} if error is None else {"title": error.title, "message": error.message, "hint": error.hint}
    )
    fault = Fault(kind, watch.what, **fields, place=watch.place if place < 0 else place)
    return FAULT, msgspec.msgpack.encode(fault)

"""The parent's side: starts a limited child, sends requests, and kills it when it does not respond."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tuner_tui.errors import InputError, TunerError
from tuner_tui.limited.frames import (
    ALIVE,
    END,
    FAULT,
    HEADER,
    LARGEST_REPLY_BYTES,
    REPLY,
    Fault,
    frame,
)
from tuner_tui.limited.limits import Limits, current_limits
from tuner_tui.python import python_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
READ_BYTES = 1 << 20
START_SECONDS = 60.0
"""Until the first answer: Python and libraries may be loaded from a slow disk."""
KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "RAYON_NUM_THREADS",
)
"""Environment variables that a child inherits, besides LC_* and PYTHON*: it needs no token."""
_children: ContextVar[Children | None] = ContextVar("children", default=None)


class ChildEnded(TunerError):
    """The child was ended by the app, for example because a screen was closed."""


class Children:
    """The children of one task, which are ended together with it."""

    def __init__(self) -> None:
        self._begun: list[LimitedProcess] = []
        self._is_ended = False
        self._lock = threading.Lock()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in this thread; the children that it starts belong to this task."""
        token = _children.set(self)
        try:
            return function()
        finally:
            _children.reset(token)

    def add(self, child: LimitedProcess) -> None:
        with self._lock:
            self._begun.append(child)
        if self._is_ended:
            child.kill()

    def remove(self, child: LimitedProcess) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._begun.remove(child)

    def end(self) -> None:
        """Kill all children."""
        self._is_ended = True
        with self._lock:
            begun = list(self._begun)
        for child in begun:
            child.kill()


class LimitedProcess:
    """A child that answers requests one at a time. Use it as a context manager, or close it."""

    def __init__(self, module: str, about: str, limits: Limits | None = None) -> None:
        self.about = about
        """The file that it reads, for errors."""
        self.limits = limits or current_limits()
        self._buffer = bytearray()
        self._has_answered = False
        self._is_busy = False
        self._ended = ""
        self._process = subprocess.Popen(
            python_command(module, str(os.getpid()), str(self.limits.seconds), str(self.limits.memory_bytes)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._group = _children.get()
        if self._group is not None:
            self._group.add(self)

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    @property
    def is_usable(self) -> bool:
        """Whether it can take another request."""
        return not self._is_busy and not self._ended and self._process.poll() is None

    def send(self, request: bytes) -> None:
        """Send a request, whose answers `answers` returns. Raises InputError if the child has ended."""
        assert self._process.stdin is not None
        self._is_busy = True
        rest = memoryview(frame(b"Q", request))
        try:
            while rest:
                rest = rest[self._process.stdin.write(rest) :]
        except (OSError, ValueError):
            raise self._explain_end(self.about) from None

    def answers(self) -> Iterator[bytes]:
        """The answers to the last request. Raises LimitReached, InputError, or ItemFault for one item."""
        while True:
            kind, payload = self._next()
            self._has_answered = True
            if kind == REPLY:
                yield payload
            elif kind == END:
                self._is_busy = False
                return
            elif kind == FAULT:
                self._is_busy = False
                raise self._explained(msgspec.msgpack.decode(payload, type=Fault))

    def ask(self, request: bytes) -> Iterator[bytes]:
        """Send a request and yield its answers."""
        self.send(request)
        return self.answers()

    def kill(self) -> None:
        """Kill the child at once; callers that wait for an answer get ChildEnded."""
        self._ended = self._ended or "stopped"
        self._process.kill()

    def close(self) -> None:
        """End the child and close its pipes."""
        if self._group is not None:
            self._group.remove(self)
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _next(self) -> tuple[bytes, bytes]:
        self._fill(HEADER.size)
        kind, length = HEADER.unpack_from(self._buffer)
        if length > LARGEST_REPLY_BYTES or kind not in (REPLY, END, FAULT, ALIVE):
            self.kill()
            raise InputError("The file cannot be read", f"{self.about}: its reader gave an invalid answer.")
        self._fill(HEADER.size + length)
        payload = bytes(memoryview(self._buffer)[HEADER.size : HEADER.size + length])
        del self._buffer[: HEADER.size + length]
        return kind, payload

    def _fill(self, count: int) -> None:
        """Read until the buffer has `count` bytes. Raises LimitReached or ChildEnded."""
        while len(self._buffer) < count:
            allowed = self.limits.silent_seconds + (0 if self._has_answered else START_SECONDS)
            if not self._poll.poll(allowed * 1000):
                self.kill()
                raise self.limits.too_slow(self.about)
            try:
                part = os.read(self._out, READ_BYTES)
            except OSError:
                part = b""
            if not part:
                raise self._explain_end(self.about)
            self._buffer += part

    def _explained(self, fault: Fault) -> InputError:
        what = fault.what or self.about
        if fault.kind == "time":
            return self.limits.too_slow(what)
        if fault.kind == "memory":
            return self.limits.too_big(what)
        if fault.kind == "crash":
            return Crashed(what, fault.message)
        return ItemFault(fault)

    def _explain_end(self, what: str) -> TunerError:
        """The reason why the child exited: native libraries end the process when out of memory."""
        if self._ended:
            return ChildEnded("Reading was stopped", what)
        self._ended = "gone"
        code = self._process.wait()
        if code in (-signal.SIGABRT, -signal.SIGKILL, -signal.SIGSEGV, -signal.SIGBUS):
            return self.limits.too_big(what)
        if code in (-signal.SIGVTALRM, -signal.SIGXCPU):
            return self.limits.too_slow(what)
        return Crashed(what, f"its reader ended with exit code {code}.")


class Crashed(InputError):
    """A library could not read the file; `reason` is its message."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__("The file cannot be read", f"{what}: {reason}")
        self.reason = reason


class ItemFault(InputError):
    """A child's error for one item of a request."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.title, fault.message, fault.hint)
        self.place = fault.place


def _environment() -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(("LC_", "PYTHON"))
    }
    return environment | {
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # other pools reserve far more than they use
        "TOKENIZERS_PARALLELISM": "true",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }

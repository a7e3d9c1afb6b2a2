"""The token microscope's client: keeps a worker running between requests; no torch in this process."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.tokens.microscope import LookReply, LookRequest, look_request
from tuner_tui.errors import InputError, TunerError
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.models.source import find_source
from tuner_tui.python import python_command

if TYPE_CHECKING:
    from types import TracebackType

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.recognition.reading import Reading


class Microscope:
    """One worker process; only the first request waits for its imports."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Microscope:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self) -> None:
        """Start the worker ahead of the first request."""
        with self._asking:
            self._start()

    def look(self, request: LookRequest) -> LookReply:
        """A row's tokens and loss mask, as the trainer gets them.

        Raises TunerError when the worker has exited, and after `close`.
        """
        with self._asking:
            process = self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(msgspec.json.encode(request) + b"\n")
                process.stdin.flush()
                while line := process.stdout.readline():
                    if not line.startswith(b'{"ready"'):
                        return msgspec.json.decode(line, type=LookReply)
            except (OSError, msgspec.DecodeError, ValueError):
                pass
            self._end()
            raise TunerError(
                "The token microscope has exited",
                "Its worker ended without an answer.",
                "Try again; see: tuner-tui doctor",
            )

    def close(self) -> None:
        """End the worker process; requests that still wait for it start no other one."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()  # even during a request: closing must not wait
        with self._asking:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._is_closed:
            raise TunerError("The token microscope is closed")
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                python_command("tuner_tui.worker", "preview"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=worker_environment(1),
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def request_for(
    reading: Reading, row: int, model: str, method: MethodKind, *, revision: str | None = None, **how: Any
) -> LookRequest:
    """A request with the model found on this machine. Raises NotFoundError or InputError as `find_source` does."""
    source = find_source(model, revision)
    return look_request(
        reading,
        row,
        model_kind=source.kind,
        model_location=str(source.path or source.repo_id),
        revision=source.revision,
        method=method,
        **how,
    )


def look_once(
    reading: Reading,
    row: int,
    model: str,
    method: MethodKind,
    loss_on: str,
    max_length: int,
    template: str | None = None,
) -> LookReply:
    """One request, for a command. Raises InputError if the tokens cannot be shown."""
    request = request_for(
        reading, row, model, method, loss_on=loss_on, max_length=max_length, template=template
    )
    with Microscope() as microscope:
        reply = microscope.look(request)
    if reply.problem:
        raise InputError("The row's tokens cannot be shown", reply.problem, reply.hint)
    return reply

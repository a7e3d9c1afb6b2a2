"""The Hub from app and commands: one process per push or download, ended when it hangs."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING

import msgspec

from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.source import is_hub_id
from tuner_tui.python import python_command
from tuner_tui.sharing.hub_failures import AGAIN
from tuner_tui.sharing.hub_protocol import (
    Downloaded,
    DownloadRequest,
    Event,
    Pushed,
    PushRequest,
    Refused,
    decode_event,
)
from tuner_tui.sharing.worker_job import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.1
SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",  # uploads through Xet have no time limits, and cannot be verified by hash meanwhile
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_DEBUG": "0",  # would print requests
    "PYTHONUNBUFFERED": "1",
}


def require_name(text: str) -> str:
    """A repository's name. Raises InputError for an invalid one."""
    if not is_hub_id(text):
        raise InputError(
            "Not a name on the Hub", f"{text!r} is not a valid repository name.", 'Use the form "owner/name".'
        )
    return text


def push(
    request: PushRequest, tell: Callable[[Event], None], is_cancelled: Callable[[], bool] = lambda: False
) -> Pushed:
    """Push, and return the repository's state. Raises TunerError, or Cancelled; it can be restarted then."""
    ending = run(request, tell, is_cancelled)
    assert isinstance(ending, Pushed)
    return ending


def download(
    request: DownloadRequest, tell: Callable[[Event], None], is_cancelled: Callable[[], bool] = lambda: False
) -> Downloaded:
    """Download into the Hub's cache. Raises TunerError, or Cancelled; partial downloads are kept for resuming."""
    ending = run(request, tell, is_cancelled)
    assert isinstance(ending, Downloaded)
    return ending


def run(
    request: PushRequest | DownloadRequest, tell: Callable[[Event], None], is_cancelled: Callable[[], bool]
) -> Event:
    """One Hub process from request to last event."""
    process = subprocess.Popen(
        python_command("tuner_tui.sharing.hub_job"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | SETTINGS,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    lines: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.close()
        ending = _follow(lines, request.limits.silence, tell, is_cancelled)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(timeout=1)
        process.stdout.close()
    if isinstance(ending, Refused):
        error = TunerError(ending.title, ending.message, ending.hint)
        error.exit_code = ending.exit_code
        raise error
    return ending


def _follow(
    lines: queue.Queue[bytes],
    silence: float,
    tell: Callable[[Event], None],
    is_cancelled: Callable[[], bool],
) -> Event:
    heard = time.monotonic()
    while True:
        if is_cancelled():
            raise Cancelled
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() - heard > silence:
                raise TunerError(
                    "The Hub does not answer", f"No progress for {silence:.0f} s.", AGAIN
                ) from None
            continue
        if not line:
            raise TunerError("The Hub's process crashed", "It may have been killed.", AGAIN)
        try:
            event = decode_event(line)
        except msgspec.DecodeError:  # printed by a library
            continue
        heard = time.monotonic()
        if isinstance(event, (Pushed, Downloaded, Refused)):
            return event
        tell(event)


def _read(stream: IO[bytes], lines: queue.Queue[bytes]) -> None:
    with contextlib.suppress(ValueError):  # closed while reading
        for line in stream:
            lines.put(line)
    lines.put(b"")

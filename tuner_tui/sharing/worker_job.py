"""Runs one job of the export worker, follows its events, and ends its process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from tuner_tui.errors import TunerError
from tuner_tui.files import LineFollower, last_lines
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.python import python_command
from tuner_tui.runs.export_events import Event, ExportRequest, Failed, decode_lines

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.1
Work = Literal["export", "check", "compare-bases"]


class Cancelled(Exception):
    """The user cancelled."""


def run_job(
    work: Work,
    request: ExportRequest,
    threads: int,
    tell: Callable[[Event], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> list[Event]:
    """Do one job in a process with torch; returns its events. Raises TunerError on failure, and Cancelled."""
    with tempfile.TemporaryDirectory(prefix="tuner-tui-export-") as scratch:
        events, request_file, log = (
            Path(scratch) / name for name in ("events.jsonl", "request.json", "worker.log")
        )
        request_file.write_bytes(msgspec.json.encode(msgspec.structs.replace(request, events=str(events))))
        events.touch()
        with log.open("wb") as output:
            worker = subprocess.Popen(
                python_command("tuner_tui.worker", work, str(request_file)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(threads),
                start_new_session=True,
            )
        try:
            results = _follow(worker, events, tell, is_cancelled)
        finally:
            _end(worker)
        failed = next((event for event in results if isinstance(event, Failed)), None)
        if failed is not None:
            error = TunerError(failed.title, failed.message, failed.hint)
            error.exit_code = failed.exit_code
            raise error
        if worker.returncode:
            raise TunerError(
                "The export's process crashed",
                f"Exit code {worker.returncode}: {next(iter(last_lines(log, 1)), 'nothing in its log')}",
                "If memory ran out (code -9), close programs that use much memory and try again.",
            )
        return results


def _environment(threads: int) -> dict[str, str]:
    """A worker's environment, offline and without a token."""
    environment = {key: value for key, value in worker_environment(threads).items() if key != "HF_TOKEN"}
    return environment | {"HF_HUB_OFFLINE": "1"}


def _follow(
    worker: subprocess.Popen[bytes],
    events: Path,
    tell: Callable[[Event], None],
    is_cancelled: Callable[[], bool],
) -> list[Event]:
    lines, results = LineFollower(events), []
    while True:
        is_over = worker.poll() is not None
        for event in decode_lines(lines.read()):
            results.append(event)
            tell(event)
        if is_over:
            return results
        if is_cancelled():
            raise Cancelled
        time.sleep(POLL_SECONDS)


def _end(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()

"""Requests of commands to a run's worker, and its answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tuner_tui.errors import RunProblem
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.status import LIVE, read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.runs.events import Request
    from tuner_tui.runs.folder import RunFolder

ANSWER_PATIENCE_SECONDS = 5.0


def ask(folder: RunFolder, request: Request, *, to_stderr: bool = False) -> None:
    """Send a request, and print its answer. Raises RunProblem when the run is not live, or queued."""
    follower = read_run(folder)
    if follower.status not in LIVE:
        raise RunProblem("The run is not running", f"{folder.name} is {follower.status}.")
    if follower.status == "queued" and request != "stop":
        hint = f"Remove it with: {shell_command('runs stop', folder.name)}"
        raise RunProblem("The run has not started", f"{folder.name} is queued.", hint)
    request_id = leave_request(folder, request)
    deadline = time.monotonic() + ANSWER_PATIENCE_SECONDS
    while time.monotonic() < deadline:
        status = follower.poll()
        answer = next(
            (recorded for recorded in reversed(follower.state.requests) if recorded.id == request_id), None
        )
        if answer is not None:
            click.echo(answer.words, err=to_stderr)
            return
        if status not in LIVE:
            raise RunProblem("The run ended before the request", f"{folder.name} is {status}.")
        time.sleep(0.1)
    click.echo(f"{request}: requested; the worker has not answered yet (it is starting).", err=to_stderr)

"""Copies the adapter of a run that has just finished to the run that waited for it.

Reading specs needs more libraries than the keeper loads, so this runs in a separate process:
`python -m tuner_tui.keeper.late_start RUN_FOLDER NAME_OF_THE_FINISHED_RUN`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.python import python_command
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder

PATIENCE_SECONDS = 300.0


def take_adapter(folder: RunFolder, finished_name: str, beat: Callable[[], None]) -> RunFailed | None:
    """Copy a finished run's adapter into the run's folder and plan the run with it; returns the failure, if any.

    `finished_name` is the finished run's current name, which may differ from the one in the spec. `beat` is called
    every second while this runs.
    """
    command = python_command("tuner_tui.keeper.late_start", str(folder.path), finished_name)
    try:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as taking:
            try:
                output = _output(taking, beat)
            finally:
                taking.kill()
        failure = json.loads(output) if taking.returncode else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return RunFailed(kind="crash", title="The adapter to start from cannot be used", message=str(error))
    return RunFailed(kind="error", **failure) if failure is not None else None


def _output(taking: subprocess.Popen[bytes], beat: Callable[[], None]) -> bytes:
    """The output of a process until it exits. Raises TimeoutExpired."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return taking.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
            beat()


def write_skipped(folder: RunFolder, failure: RunFailed) -> None:
    """Record in a run's events why it was never started. Raises OSError when its folder does not exist."""
    from tuner_tui.runs.journal import EventWriter
    from tuner_tui.runs.summary import write_summary
    from tuner_tui.versions import library_versions

    events = EventWriter(folder.events)
    try:
        events.write(RunStarted(protocol=PROTOCOL, versions=library_versions()))
        events.write(failure)
    finally:
        events.close()
    write_summary(folder)


def _take(folder: RunFolder, finished_name: str) -> None:
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.files import write_atomic
    from tuner_tui.models.source import find_source
    from tuner_tui.planning.plan import encode_plan, make_plan
    from tuner_tui.planning.this_machine import plan_here
    from tuner_tui.runs.create import with_digest
    from tuner_tui.runs.lineage import as_started, find_start, keep_start
    from tuner_tui.runs.measurements import all_measured

    spec = read_spec(folder.spec)
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"adapter": finished_name})})
    source = find_source(spec.model.source, spec.model.revision)
    start = find_start(spec, source)
    if start is not None:
        folder.owned.discard(folder.started_from)  # left by a keeper that crashed in the middle
        keep_start(start, folder.path)
        memory = plan_here(as_started(spec, source), source, all_measured())
        write_atomic(folder.plan, encode_plan(with_digest(make_plan(spec, source, start, memory))))


def main() -> int:
    """Run for the folder and the run's name on the command line; a failure is printed as one JSON object."""
    from tuner_tui.runs.folder import RunFolder

    try:
        _take(RunFolder(Path(sys.argv[1])), sys.argv[2])
    except TunerError as error:
        print(json.dumps({"title": error.title, "message": error.message, "hint": error.hint}))  # noqa: T201
        return 1
    except OSError as error:
        failure = {"title": "The adapter to start from cannot be copied", "message": str(error)}
        print(json.dumps(failure))  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

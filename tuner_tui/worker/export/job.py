"""`python -m tuner_tui.worker export|check|compare-bases REQUEST`: one step of an export, reported in events."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.errors import TunerError
from tuner_tui.parent import leave_with_parent
from tuner_tui.runs.export_events import Event, ExportRequest, Failed, encode
from tuner_tui.worker.device.machine import set_threads
from tuner_tui.worker.model.loading import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


def main(work: str, request_path: Path) -> int:
    """Run one job and report it in events, the last of which says how it ended; 0 on success."""
    leave_with_parent()
    set_threads()
    request = guarded.read_json(request_path, ExportRequest)

    def emit(event: Event) -> None:
        with Path(request.events).open("ab") as file:
            file.write(encode(event))

    try:
        _do(work, request, emit)
    except TunerError as error:
        _log.exception("export failed")
        emit(Failed(title=error.title, message=error.message, hint=error.hint, exit_code=error.exit_code))
        return 1
    except OSError as error:
        _log.exception("export failed")
        where = f"{error.filename}: " if error.filename else ""
        emit(Failed(title="The export cannot be written", message=f"{where}{error.strerror or error}."))
        return 1
    except Exception as error:  # whatever a library raises ends the job; the log has the traceback
        _log.exception("export failed")
        if is_out_of_memory(error):
            emit(Failed(title="Out of memory", message="The export needs more memory than is free."))
        else:
            text = next(iter(str(error).splitlines()), "")
            emit(Failed(title="The export failed", message=f"{type(error).__name__}: {text}"))
        return 1
    return 0


def _do(work: str, request: ExportRequest, emit: Callable[[Event], None]) -> None:
    from tuner_tui.worker.export import check, write

    jobs = {"export": write.write_form, "check": check.check_form, "compare-bases": check.compare_bases}
    jobs[work](request, emit)

"""Deleting a run for good, and what may not be deleted."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.runs import lock, queue
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


def delete_run(folder: RunFolder) -> None:
    """Delete a run for good; a crash in the middle leaves a hidden rest, never half a run in the list.

    Raises RunProblem when it is live, TunerError when its folder cannot be removed.
    """
    require_idle(folder)
    doomed = folder.path.with_name(f".deleting-{folder.name}")
    try:
        folder.path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise TunerError(
            "The run cannot be deleted", f"{error.filename or folder.path}: {error.strerror or error}."
        ) from error


def require_idle(folder: RunFolder) -> None:
    """Raise RunProblem for a run that is live."""
    if queue.is_queued(folder.name) or lock.is_held(folder.lock):
        raise RunProblem(
            "The run is live", folder.name, f"Stop it first: {shell_command('runs stop', folder.name)}"
        )

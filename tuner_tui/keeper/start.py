"""Handing a run to the keeper, and making sure there is one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.keeper import process
from tuner_tui.runs import lock, queue

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


def keeper_lock() -> Path:
    """The lock that the data folder's one keeper holds."""
    return paths.data_dir() / "keeper.lock"


def keeper_log() -> Path:
    """What the keeper has to say."""
    return paths.data_dir() / "keeper.log"


def submit(folder: RunFolder, *, resume: bool = False) -> None:
    """Enqueue a run and see that a keeper is there. Raises RunProblem when the run is running or waiting already."""
    if lock.is_held(folder.lock):
        raise RunProblem(
            "The run is running already",
            folder.name,
            f"Watch it: tuner-tui runs follow {folder.name}",
        )
    if queue.is_queued(folder.name):
        raise RunProblem("The run is waiting already", folder.name, "See: tuner-tui runs list")
    try:
        queue.enqueue(folder, resume)
    except OSError as error:
        raise TunerError(
            "The run cannot be queued",
            f"{paths.queue_dir()}: {error.strerror or error}.",
            "Free space or rights there.",
        ) from error
    ensure_keeper()


def ensure_keeper(patience_seconds: float = 20.0) -> None:
    """Start a keeper if the data folder has none, and wait until it is there or has nothing left to do."""
    if lock.is_held(keeper_lock()):
        return
    process.start_keeper(keeper_log(), paths.data_dir())
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        if lock.is_held(keeper_lock()) or not queue.entries():
            return
        time.sleep(0.02)
    raise TunerError(
        "The keeper does not start",
        f"Its log is {keeper_log()}.",
        "Read the log's last lines; see: tuner-tui doctor",
    )


def adopt_if_needed(folder: RunFolder) -> None:
    """See that a run whose keeper died is waited for by a new one."""
    if lock.is_held(folder.lock) and not lock.is_held(keeper_lock()):
        process.start_keeper(keeper_log(), paths.data_dir())

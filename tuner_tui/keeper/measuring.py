"""What probes and profiles share: one measurement at a time, none beside a run, and why a worker gave none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.files import make_folder
from tuner_tui.guarded import Unreadable
from tuner_tui.runs.event_words import where_short
from tuner_tui.runs.events import MemoryShort, RunFailed, decode_lines
from tuner_tui.runs.lock import FileLock, acquire, is_in_use

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


def refuse_company(measurement: str) -> None:
    """Raise TunerError if a run is live: both would use the same memory. `measurement` is such as `A probe`."""
    try:
        live = [folder.name for folder in paths.runs_dir().iterdir() if is_in_use(folder / "lock")]
    except OSError:
        return  # no runs yet
    if live:
        raise TunerError(
            "A run is training",
            f"{measurement} would take the memory of {live[0]}.",
            "Wait for it: tuner-tui runs list",
        )


def only_measurement() -> FileLock:
    """Take the lock for probes and profiles, which their worker holds too. Raises TunerError if another one has it."""
    path = paths.data_dir() / "probe.lock"
    try:
        make_folder(path.parent)
        lock = acquire(path)
    except OSError as error:
        raise TunerError("The probe's lock cannot be created", f"{path}: {error.strerror}.") from error
    if lock is None:
        raise TunerError(
            "Another probe is running",
            "Two probes or profiles at once would distort both measurements.",
            "Try again when it has ended.",
        )
    return lock


def explained(folder: RunFolder, measurement: str) -> TunerError:
    """Why a worker gave no measurement; its log where it does not say so. `measurement` is such as `probe`."""
    unexplained = TunerError(f"The {measurement} gave no measurement", f"{folder.path}", f"See {folder.log}")
    return reported(folder, measurement) or unexplained


def reported(folder: RunFolder, measurement: str) -> TunerError | None:
    """The error that a worker reported in its events; None where it reported none."""
    try:
        events = decode_lines(guarded.read_bytes(folder.events))
    except Unreadable:
        events = []
    for event in reversed(events):
        if isinstance(event, RunFailed):
            return TunerError(f"The {measurement} failed: {event.title}", event.message, event.hint)
        if isinstance(event, MemoryShort):
            return TunerError(
                f"The {measurement} failed: Out of memory",
                f"Memory ran out {where_short(event)}: {event.message.rstrip('.')}.",
                "Use a lower model.precision (nf4), a smaller training.micro_batch, a shorter training.max_length or "
                "a smaller model, or close other programs.",
            )
    return None

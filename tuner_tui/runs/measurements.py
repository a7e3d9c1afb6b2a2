"""Reads and writes the memory measurements in the folders of runs and probes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.files import write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.planning.measurement import Measured

MEASURED_FILE = "memory.json"
MOST_READ = 200
"""Number of newest measurements; older ones say little about the current libraries."""


def probes_dir() -> Path:
    """The folder of probes' measurements, one folder each."""
    return paths.data_dir() / "probes"


def write_measured(folder: Path, measured: Measured) -> None:
    """Write a measurement to a run's folder. Raises OSError."""
    write_atomic(folder / MEASURED_FILE, msgspec.json.encode(measured))


def read_measured(folder: Path) -> Measured | None:
    """A folder's measurement; None if there is no valid one."""
    try:
        return guarded.read_json(folder / MEASURED_FILE, Measured)
    except Unreadable:
        return None


def all_measured() -> list[Measured]:
    """The newest measurements of runs and probes on this machine, the newest first."""
    measurements = []
    for parent in (paths.runs_dir(), probes_dir()):
        try:
            folders = sorted(parent.iterdir(), key=lambda path: path.name, reverse=True)[:MOST_READ]
        except OSError:
            continue
        measurements += [measured for folder in folders if (measured := read_measured(folder)) is not None]
    return sorted(measurements, key=lambda measured: -measured.at)[:MOST_READ]

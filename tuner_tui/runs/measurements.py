"""The measurements that finished runs and probes left in their folders."""

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
"""Of the newest; older ones say little of today's libraries."""


def probes_dir() -> Path:
    """One folder per probe, kept for its measurement."""
    return paths.data_dir() / "probes"


def write_measured(folder: Path, measured: Measured) -> None:
    """Keep a measurement in a run's folder. Raises OSError."""
    write_atomic(folder / MEASURED_FILE, msgspec.json.encode(measured))


def read_measured(folder: Path) -> Measured | None:
    """A folder's measurement, when there is a sound one."""
    try:
        return guarded.read_json(folder / MEASURED_FILE, Measured)
    except Unreadable:
        return None


def all_measured() -> list[Measured]:
    """The newest measurements of runs and probes on this machine, the newest first."""
    found = []
    for parent in (paths.runs_dir(), probes_dir()):
        try:
            folders = sorted(parent.iterdir(), key=lambda each: each.name, reverse=True)[:MOST_READ]
        except OSError:
            continue
        found += [measured for folder in folders if (measured := read_measured(folder)) is not None]
    return sorted(found, key=lambda each: -each.at)[:MOST_READ]

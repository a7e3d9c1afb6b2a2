"""What a change of the data folder leaves behind: nothing is moved, so it is said first."""

from __future__ import annotations

import os
from pathlib import Path

from tuner_tui.config import paths
from tuner_tui.config.settings import SettingsError
from tuner_tui.config.standard_folders import standard_folder
from tuner_tui.runs.folder import list_runs
from tuner_tui.text import counted

DATA_KEY = "folders.data"


def left_behind(key: str, value: object) -> str:
    """What is no longer listed once a setting has a value (None: its default); empty when nothing is."""
    if key != DATA_KEY or paths.DATA_VARIABLE in os.environ:
        return ""
    try:
        old = paths.data_dir()
    except SettingsError:  # the change may be what fixes them
        return ""
    new = standard_folder("data") if value is None else Path(str(value))
    runs = len(list_runs())
    if new == old or not (runs or (old / "feedback").is_dir()):
        return ""
    if not runs:
        return f"Notes and feedback stay in {old} and are no longer listed."
    verb, listed = ("stay", "are") if runs > 1 else ("stays", "is")
    stays = f"{counted(runs, 'run')} {verb} in {old} and {listed} no longer listed"
    return f"{stays}; the queue, notes and feedback stay there too."

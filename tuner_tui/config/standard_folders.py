"""The app's default folders, by the system's conventions or TUNER_TUI_HOME."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

APP = "tuner-tui"


def standard_folder(kind: Literal["config", "data", "cache"]) -> Path:
    """The folder of a kind: in TUNER_TUI_HOME if that is set, else the system's usual one."""
    home = os.environ.get("TUNER_TUI_HOME")
    if home:
        return Path(home).expanduser().absolute() / kind
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_dir")(APP, appauthor=False))

"""The app's default folders, by the system's conventions or TUNER_TUI_HOME."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from tuner_tui.errors import InputError

APP = "tuner-tui"


def standard_folder(kind: Literal["config", "data", "cache"]) -> Path:
    """The folder of a kind: in TUNER_TUI_HOME if that is set, else the system's usual one.

    Raises InputError for a user of whom no home folder is known, as in a container that runs under a bare number.
    """
    home = os.environ.get("TUNER_TUI_HOME")
    try:
        if home:
            return Path(home).expanduser().absolute() / kind
        import platformdirs

        return Path(getattr(platformdirs, f"user_{kind}_dir")(APP, appauthor=False))
    except RuntimeError as error:  # of pathlib and platformdirs
        named = (
            f"TUNER_TUI_HOME is {home!r}" if home else f"user {os.getuid()} has no entry in the user database"
        )
        raise InputError(
            "No home folder is known",
            f"{named}, and HOME is {'set' if os.environ.get('HOME') else 'not set'}.",
            "Set HOME, or TUNER_TUI_HOME, to a folder that you may write to, such as: export HOME=/tmp/me",
        ) from error

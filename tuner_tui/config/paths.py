"""The app's folders; defined only here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from tuner_tui.config.settings import read_settings
from tuner_tui.config.standard_folders import standard_folder

DATA_VARIABLE = "TUNER_TUI_DATA"
CACHE_VARIABLE = "TUNER_TUI_CACHE"
"""Environment variables that fix the folders of a keeper and its workers, whatever the settings become."""


def _set_folder(kind: Literal["data", "cache"]) -> Path:
    """The folder in the settings, else the default. Raises SettingsError when settings cannot be read."""
    named = read_settings().text(f"folders.{kind}")
    return Path(named) if named else standard_folder(kind)


def config_dir() -> Path:
    """Settings and the user's presets."""
    return standard_folder("config")


def data_dir() -> Path:
    """Runs, the queue, notes and feedback."""
    fixed = os.environ.get(DATA_VARIABLE)
    return Path(fixed) if fixed else _set_folder("data")


def cache_dir() -> Path:
    """Files that can be recreated: dequantised models, token caches."""
    fixed = os.environ.get(CACHE_VARIABLE)
    return Path(fixed) if fixed else _set_folder("cache")


def is_usual_cache() -> bool:
    """Whether the cache is in the folder of our own name, and not in one that the person named."""
    return cache_dir() == standard_folder("cache")


def runs_dir() -> Path:
    """One folder per run."""
    return data_dir() / "runs"


def queue_dir() -> Path:
    """The queue, one small file per run."""
    return data_dir() / "queue"


def notes_dir() -> Path:
    """Notes on runs, one small file each."""
    return data_dir() / "notes"


def user_presets_dir() -> Path:
    """The user's presets."""
    return config_dir() / "presets"


def dequantised_dir() -> Path:
    """Models that were dequantised from a GGUF file, keyed by its hash."""
    return cache_dir() / "dequantised"


def shipped_dir(kind: str) -> Path:
    """The folder of shipped `presets` or `assets`: inside an installed wheel, else the checkout's own."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_shipped" / kind
    return installed if installed.is_dir() else package.parent / kind

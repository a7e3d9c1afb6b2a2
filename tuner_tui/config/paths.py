"""Where things live; the only place that knows the folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from tuner_tui.config.settings import read_settings
from tuner_tui.config.standard_folders import standard_folder

DATA_VARIABLE = "TUNER_TUI_DATA"
CACHE_VARIABLE = "TUNER_TUI_CACHE"
"""Name the folders for a keeper and its workers, so that changed or broken settings do not move them under them."""


def _set_folder(kind: Literal["data", "cache"]) -> Path:
    """The folder that a setting names, else the usual one. Raises SettingsError when settings cannot be read."""
    named = read_settings().text(f"folders.{kind}")
    return Path(named) if named else standard_folder(kind)


def config_dir() -> Path:
    """Settings and the person's own presets."""
    return standard_folder("config")


def data_dir() -> Path:
    """Runs, the queue, notes and feedback."""
    kept = os.environ.get(DATA_VARIABLE)
    return Path(kept) if kept else _set_folder("data")


def cache_dir() -> Path:
    """What can be made again: dequantised models, token caches."""
    kept = os.environ.get(CACHE_VARIABLE)
    return Path(kept) if kept else _set_folder("cache")


def is_usual_cache() -> bool:
    """Whether the cache is in the folder of our own name, and not in one that the person named."""
    return cache_dir() == standard_folder("cache")


def runs_dir() -> Path:
    """One folder per run."""
    return data_dir() / "runs"


def queue_dir() -> Path:
    """One small file per run that waits for the card."""
    return data_dir() / "queue"


def notes_dir() -> Path:
    """What its person noted about runs, one small file a run."""
    return data_dir() / "notes"


def user_presets_dir() -> Path:
    """The person's own presets."""
    return config_dir() / "presets"


def dequantised_dir() -> Path:
    """Models that were dequantised once from a GGUF file, keyed by its hash."""
    return cache_dir() / "dequantised"


def shipped_dir(kind: str) -> Path:
    """The folder of shipped `presets` or `assets`: inside an installed wheel, else the checkout's own."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_shipped" / kind
    return installed if installed.is_dir() else package.parent / kind

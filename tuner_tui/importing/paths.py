"""Where models and data of the source are on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from tuner_tui.files import can_be_path, expanded

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_DATA_ENDINGS = (
    ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst", ".ndjson",
)  # fmt: skip


def on_this_machine(name: str, folders: tuple[Path, ...], *, is_model: bool = False) -> str | None:
    """The absolute path that a name refers to, looked for in the folders in turn; None if there is nothing there.

    A path that is clearly one (`./`, `/`, `~`, `..`) is given although nothing is there, below the last folder.
    """
    if not name.strip() or "://" in name or not can_be_path(name):
        return None
    path = expanded(Path(name))
    places = [folder.absolute() / path for folder in folders]
    for place in places:
        if place.is_dir() or (place.exists() and (not is_model or place.suffix.lower() == ".gguf")):
            return _clean(place)
    if name.startswith(("/", "./", "../", "~")):
        return _clean(places[-1])
    return None


def data_source(name: str, folders: tuple[Path, ...]) -> str | None:
    """What data.train can say for a name: an absolute path, or hub:owner/name; None for what is neither."""
    if "\0" in name or "\n" in name:
        return None
    if found := on_this_machine(name, folders):
        return found
    if "://" in name or not name.strip() or not can_be_path(name):
        return None
    if _HUB_NAME.fullmatch(name) and not name.lower().endswith(_DATA_ENDINGS):
        return f"hub:{name}"
    if name.lower().endswith(_DATA_ENDINGS) or "/" in name:
        return _clean(folders[-1].absolute() / expanded(Path(name)))
    return None


def _clean(path: Path) -> str:
    """Without `.` and `..` where no symlink is followed by that."""
    return str(path.resolve() if ".." in path.parts else path)

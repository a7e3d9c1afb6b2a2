"""Completes a path while it is typed: the first file or folder that begins as the text does."""

from __future__ import annotations

from pathlib import Path

from textual.suggester import Suggester

from tuner_tui.files import can_be_path, entries, expanded
from tuner_tui.ui.background import in_background

MOST_ENTRIES = 5000


class PathSuggester(Suggester):
    """For inputs that take a path: the right arrow at the text's end takes what is shown."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)  # files come and go

    async def get_suggestion(self, value: str) -> str | None:
        return await in_background(completed, value)


def completed(text: str) -> str | None:
    """A text with the rest of the first name in its folder that fits; None if there is none. A folder ends in a slash.

    Hidden names are completed once their dot is typed.
    """
    if not text or text != text.strip() or not can_be_path(text):
        return None
    head, slash, beginning = text.rpartition("/")
    if not beginning:
        return None
    folder = expanded(Path(f"{head}{slash}" if slash else "."))
    for name in sorted(entry.name for entry in entries(folder, MOST_ENTRIES)):
        is_seen = not name.startswith(".") or beginning.startswith(".")
        if is_seen and name.startswith(beginning) and name.isprintable():
            return f"{head}{slash}{name}{'/' if (folder / name).is_dir() else ''}"
    return None

"""One thing that is wrong with a data set, and how its rows are counted and named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
SHOWN_ROWS = 10
"""Row numbers that a problem names; it counts all."""


@dataclass(frozen=True)
class DataProblem:
    """One thing that is wrong with a data set."""

    level: Level
    kind: str
    """A short name, such as "empty answers"."""
    count: int
    """Rows that have it."""
    rows: tuple[str, ...]
    """The first few: row numbers, with the file's name in a folder of files."""
    message: str
    advice: str
    fix: str | None = None
    """The step of data.fixes that fixes it."""


def row_name(file: Path, number: int, *, is_folder: bool) -> str:
    """How a row is named: by its number, with its file in a folder of files."""
    return f"{file.name}:{number}" if is_folder else str(number)


@dataclass
class Tally:
    """Rows with one problem."""

    count: int = 0
    rows: list[str] = field(default_factory=list)
    detail: str = ""
    """What is wrong with the first of them."""

    def add(self, row: str, detail: str = "") -> None:
        """Count a row, named as given."""
        self.count += 1
        if len(self.rows) < SHOWN_ROWS:
            self.rows.append(row)
            self.detail = self.detail or detail

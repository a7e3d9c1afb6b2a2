"""What a data set is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuner_tui.data.checking.problems import LEVELS, DataProblem, Level
from tuner_tui.data.rows.unused import field_name
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.data.files.rows import Found
    from tuner_tui.data.recognition.formats import Layout


@dataclass(frozen=True)
class DataReport:
    """What a data set is, and what is wrong with it."""

    layout: Layout
    rows: int
    is_partial: bool
    """Whether the check was cancelled before the end."""
    problems: tuple[DataProblem, ...]
    seconds: float
    sample: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Rows in plain form, drawn evenly from all."""
    to_render: tuple[Found, ...] = field(default=(), repr=False)
    """That sample, and every row that has parts of a kind which no row before it had."""
    unused: tuple[tuple[str, int], ...] = ()
    """Fields that nobody takes, such as a column of sources, and in how many rows each says something."""
    not_read: dict[str, str] = field(default_factory=dict)
    """What the file or folder holds besides these rows, such as other splits, by name, and how much."""
    is_folder: bool = False
    """Whether the rows are those of several files."""

    @property
    def unused_fields(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.unused)

    @property
    def worst(self) -> Level | None:
        levels = {problem.level for problem in self.problems}
        return next((level for level in LEVELS if level in levels), None)


def unused_words(report: DataReport, most: int = 12) -> str:
    """The fields that are not used in one line; empty where every field is."""
    if not report.unused:
        return ""
    field_descriptions = [
        field_name(name) if count >= report.rows else f"{field_name(name)} ({counted(count, 'row')})"
        for name, count in report.unused[:most]
    ]
    left = len(report.unused) - len(field_descriptions)
    return f"Fields not used: {', '.join(field_descriptions)}{f' and {left} more' if left else ''}."

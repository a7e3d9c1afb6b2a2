"""One way in which a sample of rows may hold preferences, as a finder of it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tuner_tui.data.files.json_rows import Row
from tuner_tui.data.rows.comparison import Comparison
from tuner_tui.data.rows.faults import RowFault


@dataclass(frozen=True)
class Finding:
    """How pairs are made of rows."""

    variant: str
    confidence: float
    reason: str
    mapping: dict[str, str]
    convert: Callable[[Row], Row] = field(repr=False, compare=False)
    """A row as `prompt`, `chosen` and `rejected`. Raises RowFault."""
    used: tuple[str, ...]
    """The columns that it is made of."""
    compare: Callable[[Row], Comparison] | None = field(default=None, repr=False, compare=False)
    """A row with all answers and votes, ties included, where it holds more than a pair. Raises RowFault."""
    problem: RowFault | None = None
    """Why no row can be read."""

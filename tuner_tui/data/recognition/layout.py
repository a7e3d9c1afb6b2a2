"""What rows were recognised as: dataset type, what is made of which columns, and how rows are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tuner_tui.data.rows.comparison import Comparison
    from tuner_tui.data.rows.faults import RowFault

Shape = Literal["messages", "instruction", "prompt_completion", "text", "preference", "rated", "prompts"]
Convert = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Layout:
    """What rows were recognised as."""

    shape: Shape
    variant: str
    """A short name, such as "ShareGPT conversations"."""
    confidence: float
    """From 0 to 1: how much speaks for it."""
    reason: str
    mapping: dict[str, str]
    """What is made of which columns: template lines by part, such as {"completion": "{answer}"}."""
    convert: Convert = field(repr=False, compare=False)
    """A row in the shape's plain form. Raises RowFault."""
    used: tuple[str, ...] = ()
    """The columns that it is made of; the others are not used."""
    compare: Callable[[dict[str, Any]], Comparison] | None = field(default=None, repr=False, compare=False)
    """A row with every verdict that it holds, where that is more than the plain form. Raises RowFault."""
    is_mapped: bool = False
    """Whether the person's own mapping says what is made of which columns."""
    problem: RowFault | None = None
    """Why no row can be read, such as a scale whose direction is stated nowhere."""

"""A row as ids and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IGNORED = -100
"""The label of a token that carries no loss, by PyTorch's convention."""


@dataclass(frozen=True)
class TokenisedRow:
    """What the trainer is fed: equally long ids and labels; a label is the id, or IGNORED."""

    line: int
    input_ids: list[int]
    labels: list[int]
    full_length: int
    """Tokens before the row was cut."""

    @property
    def trained_tokens(self) -> int:
        """Tokens that carry loss. The first token is never predicted, so its label never counts."""
        return sum(label != IGNORED for label in self.labels[1:])

    @property
    def is_cut(self) -> bool:
        return self.full_length > len(self.input_ids)

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    @property
    def longest(self) -> int:
        return len(self.input_ids)

    @property
    def key(self) -> Any:
        return (self.input_ids, self.labels)

"""A row as ids and labels, and the sequences that a row of any type is fed as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tuner_tui.data.tokens.merged import Merge

IGNORED = -100
"""The label of a token that has no loss, by PyTorch's convention."""


class TokenSequence(NamedTuple):
    """One sequence that a row runs through the model."""

    title: str
    """Such as "chosen"."""
    ids: list[int]
    labels: list[int]
    """Equally long: the id of a token with loss, else IGNORED."""

    @property
    def trained(self) -> list[int]:
        """The tokens from the first to the last one with loss."""
        places = [place for place, label in enumerate(self.labels) if label != IGNORED]
        return self.ids[places[0] : places[-1] + 1] if places else []


def answered(title: str, prompt: list[int], answer: list[int]) -> TokenSequence:
    """A prompt and an answer, which has the loss."""
    return TokenSequence(title, prompt + answer, [IGNORED] * len(prompt) + answer)


@dataclass(frozen=True)
class TokenisedRow:
    """What the trainer is fed: equally long ids and labels; a label is the id, or IGNORED."""

    line: int
    input_ids: list[int]
    labels: list[int]
    full_length: int
    """Tokens before the row was cut."""
    is_doubtful: bool = False
    """Whether what is written lacks a text of the row, word for word, so that its parts are looked for."""

    merges: Merge = ""
    """What of the prompt is in an answer's first token."""

    @property
    def trained_tokens(self) -> int:
        """Tokens that have loss. The first token is never predicted, so its label never counts."""
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

    def sequences(self) -> tuple[TokenSequence, ...]:
        return (TokenSequence("row", self.input_ids, self.labels),)

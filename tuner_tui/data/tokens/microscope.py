"""The token microscope's request and result: one row exactly as the trainer receives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config.methods.traits import DEFAULT_METHOD

if TYPE_CHECKING:
    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.recognition.reading import Reading


class LookRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a data set, a model, and how it would be trained."""

    path: str
    row: int
    """Counted from 1, after fixes that drop rows."""
    model_kind: str
    """folder, gguf or hub."""
    model_location: str
    revision: str | None = None
    method: str = DEFAULT_METHOD
    loss_on: str = "answers"
    packing: bool = False
    max_length: int = 1024
    template: str | None = None
    shape: str = "auto"
    split: str | None = None
    encoding: str | None = None
    mapping: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    chunk_bytes: int | None = None


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One token of a sequence."""

    id: int
    text: str
    loss: bool
    """Whether it has loss."""
    cut: bool
    """Whether the length limit cuts it off."""
    template: bool
    """Whether the template wrote it, not the row."""
    end: bool
    """Whether a model stops at it."""
    row: int = 0
    """Of a packed sequence, which of its rows it belongs to; from 0."""

    @property
    def mark(self) -> str:
        """ "loss" or "cut"; empty for a token without loss."""
        return "cut" if self.cut else "loss" if self.loss else ""

    @property
    def kind(self) -> str:
        """What it is, in a word; empty for what the row says."""
        return "end" if self.end else "template" if self.template else ""


class Sequence(msgspec.Struct, frozen=True):
    """One sequence that the trainer is fed."""

    title: str
    """Such as "chosen"."""
    tokens: tuple[Token, ...]
    is_dropped: bool = False
    """Whether the trainer never sees it."""
    notes: tuple[str, ...] = ()
    """What is odd about it."""

    @property
    def fed(self) -> list[Token]:
        """The tokens that the length limit leaves."""
        return [token for token in self.tokens if not token.cut]

    @property
    def trained(self) -> int:
        return sum(token.loss and not token.cut for token in self.tokens)


class LookReply(msgspec.Struct, frozen=True):
    """What is shown of a row, or why nothing can be."""

    sequences: tuple[Sequence, ...] = ()
    line: int = 0
    shape: str = ""
    left_out: tuple[str, ...] = ()
    """What the chat template leaves out of the row, in sentences."""
    problem: str = ""
    hint: str = ""


def look_request(
    reading: Reading, row: int, *, model_kind: str, model_location: str, revision: str | None, method: MethodKind,
    loss_on: str = "answers", packing: bool = False, max_length: int = 1024, template: str | None = None,
) -> LookRequest:  # fmt: skip
    """The request for a row as it is read."""
    return LookRequest(
        path=str(reading.path), row=row, model_kind=model_kind, model_location=model_location, revision=revision,
        method=method, loss_on=loss_on, packing=packing, max_length=max_length, template=template, shape=reading.asked,
        split=reading.split, encoding=reading.encoding, mapping=reading.mapping, fixes=reading.fixes,
        chunk_bytes=reading.chunk_bytes,
    )  # fmt: skip

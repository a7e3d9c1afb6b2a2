"""A text behind a label, wrapped so that its further lines begin where its first one does."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

NARROWEST = 20
"""Cells of a text that has hardly any room."""


@dataclass(frozen=True)
class Entry:
    """A label and its text."""

    label: Content
    text: Content

    def wrapped(self, width: int) -> Content:
        """Lines of at most `width` cells."""
        indent = self.label.cell_length
        first, *more = self.text.wrap(max(NARROWEST, width - indent)) or [Content("")]
        return Content("\n").join([self.label + first, *(Content(" " * indent) + line for line in more)])

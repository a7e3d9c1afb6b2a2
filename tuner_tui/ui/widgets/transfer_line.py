"""Progress of a transfer: a bar, bytes, speed and time left."""

from __future__ import annotations

from typing import NamedTuple

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tuner_tui.text import plain
from tuner_tui.ui.run_words import progress_bar

NARROWEST_BAR = 8


class Transfer(NamedTuple):
    """A moment of a transfer."""

    share: float | None
    """Of all bytes; None while that is not known."""
    words: str


class TransferLine(Widget):
    """One line, empty while nothing is under way."""

    DEFAULT_CSS = "TransferLine { height: 1; padding: 0 2; }"

    transfer: reactive[Transfer | None] = reactive(None)

    def render(self) -> Content:
        if self.transfer is None:
            return Content("")
        share, words = self.transfer
        words = plain(words)
        room = self.content_size.width - len(words) - 1
        if share is None or room < NARROWEST_BAR:
            return Content(words)
        done, left = progress_bar(share, room)
        return Content.assemble((done, "$primary"), (left, "$faint"), " ", words)

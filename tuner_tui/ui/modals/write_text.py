"""Asks for a text of several lines: an own answer, an edited one, or a note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tuner_tui.text import plain
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult


class WriteText(ModalScreen[str | None]):
    """Returns the text, or None when cancelled or empty."""

    DEFAULT_CSS = """
    WriteText .dialog { height: 80%; }
    WriteText TextArea { height: 1fr; border: none; padding: 0; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+s", "keep", "Keep", priority=True),
        Binding("escape", "dismiss(None)", "Back", priority=True),
    ]

    def __init__(self, title: str, text: str = "") -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(literal(self._title), classes="title")
            yield TextArea(_visible(self._text), soft_wrap=True, show_line_numbers=False)
            yield Static("ctrl+s saves it, esc cancels.", classes="hint")

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()

    def action_keep(self) -> None:
        text = self.query_one(TextArea).text
        self.dismiss(text if text.strip() else None)


def _visible(text: str) -> str:
    """The text without control characters, which a text area would send to the terminal."""
    return "".join(character for character in text if character in "\n\t" or plain(character) == character)

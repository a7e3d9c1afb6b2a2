"""A failure in plain words, over the screen where it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tuner_tui.ui.widgets.literal import literal, literal_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.errors import TunerError


class MessageModal(ModalScreen[None]):
    """A title, what happened, and the next step."""

    BINDINGS = [("escape,enter,q,space", "dismiss", "Close")]  # noqa: RUF012

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        super().__init__()
        self.words = (title, message, hint)

    @classmethod
    def of(cls, error: TunerError) -> Self:
        return cls(error.title, error.message, error.hint)

    def compose(self) -> ComposeResult:
        title, message, hint = self.words
        with VerticalScroll(classes="dialog"):
            yield Static(literal(title), classes="title")
            if message:
                yield Static(literal_lines(message))
            if hint:
                yield Static(literal_lines(hint), classes="hint")
            yield Static(literal("esc closes", "$faint"), classes="hint")

"""A question with two answers; esc does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tuner_tui.ui.widgets.literal import literal, literal_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult


class ConfirmModal(ModalScreen[bool]):
    """Asks before an action; the safe answer has the focus."""

    BINDINGS = [("y", "answer(True)", "Yes"), ("n,escape,q", "answer(False)", "No")]  # noqa: RUF012

    def __init__(self, question: str, detail: str, yes: str, no: str = "No") -> None:
        super().__init__()
        self.question, self.detail, self.yes, self.no = question, detail, yes, no

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(literal(self.question), classes="title")
            yield Static(literal_lines(self.detail))
            with Horizontal(classes="buttons"):
                yield Button(literal(f"n  {self.no}"), id="no", compact=True)
                yield Button(literal(f"y  {self.yes}"), id="yes", variant="warning", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    @on(Button.Pressed)
    def take_answer(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)

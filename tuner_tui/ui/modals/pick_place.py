"""Asks for one of the answers on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult


class PickPlace(ModalScreen[int | None]):
    """Returns the answer's index from 0, or None."""

    BINDINGS = [("escape,q", "dismiss(None)", "Back")]  # noqa: RUF012

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(f"Which answer? 1 to {self._count}", classes="title")
            yield Static("esc goes back", classes="hint")

    def on_key(self, event: events.Key) -> None:
        if event.key.isdigit() and 1 <= int(event.key) <= self._count:
            event.stop()
            self.dismiss(int(event.key) - 1)

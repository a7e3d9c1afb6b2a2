"""Asks for one of some lines, which typing narrows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events, on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult


class PickOne(ModalScreen[str | None]):
    """Returns the key of the chosen line, or None."""

    DEFAULT_CSS = "PickOne .dialog { height: 80%; }"
    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, title: str, rows: tuple[PickRow, ...], key: str | None = None) -> None:
        """`key`: the line that the cursor starts on."""
        super().__init__()
        self._title, self._rows, self._key = title, rows, key

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(literal(self._title), classes="title")
            yield Input(placeholder="part of a name or a value", compact=True)
            yield PickList()

    def on_mount(self) -> None:
        self.query_one(PickList).show(self._rows, self._key)

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        words = event.value.lower().split()
        rows = tuple(
            row
            for row in self._rows
            if all(word in " ".join((row.name, *row.cells)).lower() for word in words)
        )
        self.query_one(PickList).show(rows, self._key if not words else None)

    @on(Input.Submitted)
    def take_first(self) -> None:
        self.dismiss(self.query_one(PickList).picked_key)

    @on(OptionList.OptionSelected)
    def pick(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def on_key(self, event: events.Key) -> None:
        """Up and down move in the list while typing."""
        if event.key in ("up", "down") and isinstance(self.focused, Input):
            event.stop()
            rows = self.query_one(PickList)
            rows.action_cursor_up() if event.key == "up" else rows.action_cursor_down()

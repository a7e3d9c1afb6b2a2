"""Find an option by part of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events, on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from tuner_tui.config.options import Option, options_of
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec


class PickOption(ModalScreen[str | None]):
    """Returns the key of the chosen option, or None."""

    DEFAULT_CSS = "PickOption .dialog { height: 80%; }"
    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, spec: RunSpec, wanted: Callable[[Option], bool]) -> None:
        super().__init__()
        self._options = [option for option in options_of(spec) if wanted(option)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Find an option", classes="title")
            yield Input(placeholder="part of its name or description", compact=True)
            yield PickList()

    def on_mount(self) -> None:
        self._show("")

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        self._show(event.value)

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

    def _show(self, typed: str) -> None:
        words = typed.lower().split()
        named = [option for option in self._options if _fits(words, f"{option.title} {option.key}")]
        by_help = [option for option in self._options if option not in named and _fits(words, option.help)]
        self.query_one(PickList).show(
            tuple(
                PickRow(option.key, option.title, (option.key, option.help)) for option in (*named, *by_help)
            )
        )
        if self.query_one(PickList).rows:
            self.query_one(PickList).highlighted = 0


def _fits(words: list[str], text: str) -> bool:
    return all(word in text.lower() for word in words)

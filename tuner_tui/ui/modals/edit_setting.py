"""Edits one setting, with its description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tuner_tui.config.setting_list import Setting
from tuner_tui.config.setting_values import parse_value
from tuner_tui.errors import InputError
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult


class EditSetting(ModalScreen[str | None]):
    """Returns the typed text once it is a valid value; empty means the default."""

    BINDINGS = [("escape", "dismiss(None)", "Leave")]  # noqa: RUF012

    def __init__(self, setting: Setting, text: str) -> None:
        super().__init__()
        self._setting = setting
        self._text = text

    def compose(self) -> ComposeResult:
        setting = self._setting
        choices = f"\nAny of: {', '.join(setting.choices)}." if setting.choices else ""
        with Vertical(classes="dialog"):
            yield Static(literal(setting.title), classes="title")
            yield Input(self._text, placeholder="the default", compact=True)
            yield Static(literal(setting.help + choices.replace("\n", " ")))
            yield Static("Enter saves it, esc cancels; empty means the default.", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            parse_value(self._setting, event.value)
        except InputError as error:
            self.query_one(".hint", Static).update(literal(f"! {error.message}"))
        else:
            self.dismiss(event.value)

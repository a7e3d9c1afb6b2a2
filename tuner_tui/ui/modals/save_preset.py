"""Saves a run's settings as the user's own preset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tuner_tui.config import paths
from tuner_tui.config.presets import Preset, save_preset
from tuner_tui.errors import TunerError
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft


class SavePreset(ModalScreen[Preset | None]):
    """Asks for a name and returns the saved preset; overwriting needs a second Enter."""

    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._asked = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Save as preset", classes="title")
            yield Input(placeholder="a name such as my-recipe", compact=True)
            yield Static("Enter saves it, esc cancels.", classes="hint")

    @on(Input.Changed)
    def forget_question(self) -> None:
        self._asked = ""

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        name = event.value.strip()
        hint = self.query_one(".hint", Static)
        exists = bool(name) and "/" not in name and (paths.user_presets_dir() / f"{name}.toml").exists()
        if exists and self._asked != name:
            self._asked = name
            hint.update(literal(f"You have a preset {name}. Enter again overwrites it."))
            return
        try:
            draft = self._draft
            preset = save_preset(name, draft.spec, draft.text, is_recipe=draft.is_recipe, overwrite=exists)
        except TunerError as error:
            hint.update(literal(error.in_one_line))
        except OSError as error:
            hint.update(literal(f"It cannot be written: {error.strerror}."))
        else:
            self.dismiss(preset)

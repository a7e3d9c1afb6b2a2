"""The start of a new run: presets to choose from, or no preset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from tuner_tui.config.presets import Preset, list_presets
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

BLANK = ""
"""Key of the row without a preset; no preset has an empty name."""


class StartPane(Vertical):
    """The presets with their needs; Enter chooses one."""

    class Picked(Message):
        """A preset was chosen, or None."""

        def __init__(self, preset: Preset | None) -> None:
            super().__init__()
            self.preset = preset

    def compose(self) -> ComposeResult:
        yield Static("Start from a preset; everything can be changed afterwards.", classes="pane-head")
        yield PickList(
            help_text="Presets: complete settings for a kind of machine. Your own are listed last."
        )
        yield Static(classes="pane-detail")

    def on_mount(self) -> None:
        self._presets = {preset.name: preset for preset in list_presets()}
        rows = [
            PickRow(
                preset.name,
                preset.name,
                (preset.title if preset.is_shipped else f"{preset.title} (your own)",),
            )
            for preset in self._presets.values()
        ]
        blank = PickRow(BLANK, "blank", ("No preset: start with the default settings",))
        self.query_one(PickList).show((*rows, blank))

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(PickList))

    @on(OptionList.OptionHighlighted)
    def explain(self, event: OptionList.OptionHighlighted) -> None:
        preset = self._presets.get(event.option_id or BLANK)
        if preset is None:
            words = Content("Choose model and data yourself; all settings have their defaults.")
        else:
            needs = (
                Content.assemble("\n", ("Needs: ", "bold"), literal(preset.needs))
                if preset.needs
                else Content()
            )
            words = literal(preset.summary or preset.title) + needs
        self.query_one(".pane-detail", Static).update(words)

    @on(OptionList.OptionSelected)
    def pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Picked(self._presets.get(event.option_id or BLANK)))

"""The start of a new run: presets to choose from, or no preset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from tuner_tui.config.draft import UNSET
from tuner_tui.config.presets import Preset, list_presets
from tuner_tui.config.unfinished import read_unfinished
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft

BLANK, UNFINISHED = "", "?"
"""Keys of the rows without a preset, which no preset has as its name."""


class StartPane(Vertical):
    """The run that was left unfinished, and the presets with their needs; Enter chooses one."""

    class Picked(Message):
        """A preset was chosen, the unfinished draft, or neither."""

        def __init__(self, preset: Preset | None, unfinished: Draft | None = None) -> None:
            super().__init__()
            self.preset = preset
            self.unfinished = unfinished

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
        self._unfinished = read_unfinished()
        before = [PickRow(UNFINISHED, "unfinished", (_words(self._unfinished),))] if self._unfinished else []
        self.query_one(PickList).show((*before, *rows, blank))

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(PickList))

    @on(OptionList.OptionHighlighted)
    def explain(self, event: OptionList.OptionHighlighted) -> None:
        preset = self._presets.get(event.option_id or BLANK)
        if event.option_id == UNFINISHED:
            words = Content("The new run that you left before its start, with all that you chose and typed.")
        elif preset is None:
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
        is_unfinished = event.option_id == UNFINISHED
        preset = self._presets.get(event.option_id or BLANK)
        self.post_message(self.Picked(preset, self._unfinished if is_unfinished else None))


def _words(draft: Draft) -> str:
    """What was chosen in a draft."""
    spec = draft.spec
    if draft.broken is not None:
        return "The edited run.toml that cannot be read yet"
    model = "no model yet" if spec.model.source == UNSET else spec.model.source.rpartition("/")[2]
    data = "no data yet" if spec.data.train == UNSET else spec.data.train.rpartition("/")[2]
    return f"{model}, {data}, {spec.method.kind}: the run that you left"

"""The start of a new run: a goal, presets to choose from, or no preset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from tuner_tui.config.draft import UNSET
from tuner_tui.config.presets import Preset, list_presets
from tuner_tui.config.unfinished import read_unfinished
from tuner_tui.errors import TunerError
from tuner_tui.ui.background import in_background
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft

BLANK, UNFINISHED, GOAL = "", "?", "!"
"""Keys of the rows without a preset, which no preset has as its name."""


class StartPane(Vertical):
    """The run that was left unfinished, a goal, and the presets with their needs; Enter chooses one."""

    class GoalWanted(Message):
        """A goal is to be chosen first."""

    class Picked(Message):
        """A preset was chosen, the unfinished draft, or neither."""

        def __init__(self, preset: Preset | None, unfinished: Draft | None = None) -> None:
            super().__init__()
            self.preset = preset
            self.unfinished = unfinished

    def compose(self) -> ComposeResult:
        yield Static(
            "Start from a preset, or from a goal; everything can be changed afterwards.", classes="pane-head"
        )
        yield PickList(
            help_text="Presets: complete settings for a kind of machine. Your own are listed last."
        )
        yield Static(classes="pane-detail")

    def on_mount(self) -> None:
        self._presets = {preset.name: preset for preset in list_presets()}
        self._fits: dict[str, str] = {}
        self._unfinished = read_unfinished()
        self._show_rows()
        self._look_what_fits()

    def _show_rows(self) -> None:
        fits = self._fits
        before = [("unfinished", UNFINISHED, _words(self._unfinished))] if self._unfinished else []
        rows = [
            *before,
            ("a goal", GOAL, "What should I pick? A proposal for what you want, on this machine"),
            *(
                (
                    preset.name,
                    preset.name,
                    preset.title if preset.is_shipped else f"{preset.title} (your own)",
                )
                for preset in self._presets.values()
            ),
            ("blank", BLANK, "No preset: start with the default settings"),
        ]
        self.query_one(PickList).show(
            tuple(PickRow(key, name, (fits.get(key, ""), words)) for name, key, words in rows)
        )

    @work(exclusive=True, group="fits")
    async def _look_what_fits(self) -> None:
        """Mark the presets that fit this machine, as far as their models are known without a download."""
        try:
            self._fits = await in_background(_fits_of, tuple(self._presets.values()))
        except TunerError:  # of the table of models or the settings; shown where a goal is chosen
            return
        if self.query(PickList):
            self._show_rows()

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(PickList))

    @on(OptionList.OptionHighlighted)
    def explain(self, event: OptionList.OptionHighlighted) -> None:
        preset = self._presets.get(event.option_id or BLANK)
        if event.option_id == UNFINISHED:
            words = Content("The new run that you left before its start, with all that you chose and typed.")
        elif event.option_id == GOAL:
            words = Content(
                "Say what you want: a style, facts from your documents, a format, better answers. You get model, data, "
                "method and settings that fit this machine, each with its reason; and when a prompt is enough."
            )
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
        if event.option_id == GOAL:
            self.post_message(self.GoalWanted())
            return
        is_unfinished = event.option_id == UNFINISHED
        preset = self._presets.get(event.option_id or BLANK)
        self.post_message(self.Picked(preset, self._unfinished if is_unfinished else None))


def _fits_of(presets: tuple[Preset, ...]) -> dict[str, str]:
    """In a thread: by a preset's name, whether it fits this machine. Raises TunerError."""
    from tuner_tui.config.presets import preset_spec
    from tuner_tui.planning.candidates import facts_by_name
    from tuner_tui.planning.proposals import FIT_WORDS, fit_of
    from tuner_tui.runs.proposal_basis import read_basis

    basis = read_basis(Path.cwd())
    facts = facts_by_name(basis.candidates)
    fits = {}
    for preset in presets:
        try:
            spec = preset_spec(preset)
        except TunerError:  # shown when it is chosen
            continue
        fits[preset.name] = FIT_WORDS[fit_of(spec, facts.get(spec.model.source), basis.place)]
    return fits


def _words(draft: Draft) -> str:
    """What was chosen in a draft."""
    spec = draft.spec
    if draft.broken is not None:
        return "The edited run.toml that cannot be read yet"
    model = "no model yet" if spec.model.source == UNSET else spec.model.source.rpartition("/")[2]
    data = "no data yet" if spec.data.train == UNSET else spec.data.train.rpartition("/")[2]
    return f"{model}, {data}, {spec.method.kind}: the run that you left"

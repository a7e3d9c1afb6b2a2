"""Step 3: method and tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import OptionList, Static

from tuner_tui.config.options import kind_help
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.ui.screens.new_run.state import NewRunState

QUESTIONS = {
    "method": "Method: the training objective",
    "tuning": "Tuning: the trained parameters",
}


class MethodPane(Vertical):
    """One list for method and one for tuning, with all kinds of the spec."""

    class Picked(Message):
        """A kind was chosen; `is_last` for the last list of this step."""

        def __init__(self, section: str, kind: str, is_last: bool) -> None:
            super().__init__()
            self.section = section
            self.kind = kind
            self.is_last = is_last

    def compose(self) -> ComposeResult:
        for section, question in QUESTIONS.items():
            yield Static(f"  {question}", classes="pane-head", id=f"{section}-head")
            yield PickList(id=f"{section}-kinds", help_text=f"{question}. Enter chooses one and continues.")

    def focus_first(self) -> None:
        self.screen.set_focus(self.query(PickList).first())

    async def focus_option(self, key: str) -> None:
        self.screen.set_focus(self.query_one(f"#{key.partition('.')[0]}-kinds"))

    def show(self, state: NewRunState) -> None:
        """Follow the draft: select its kinds."""
        for section in QUESTIONS:
            chosen = getattr(state.draft.spec, section).kind
            rows = [
                PickRow(kind, f"{'●' if kind == chosen else '○'} {kind}", (words,))
                for kind, words in kind_help(section).items()
            ]
            self.query_one(f"#{section}-kinds", PickList).show(tuple(rows), chosen)

    def on_descendant_focus(self) -> None:
        """Mark the list that has the cursor."""
        for section, question in QUESTIONS.items():
            is_here = self.query_one(f"#{section}-kinds").has_focus
            self.query_one(f"#{section}-head", Static).update(f"{'▸' if is_here else ' '} {question}")

    @on(OptionList.OptionSelected)
    def pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        sections = list(QUESTIONS)
        section = (event.option_list.id or "").partition("-")[0]
        is_last = section == sections[-1]
        self.post_message(self.Picked(section, event.option_id or "", is_last))
        if not is_last:
            self.screen.set_focus(self.query_one(f"#{sections[sections.index(section) + 1]}-kinds"))

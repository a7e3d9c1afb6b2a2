"""Step 3: what is optimised, and what is trained."""

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

    from tuner_tui.ui.screens.new_run_state import NewRunState

QUESTIONS = {
    "method": "Method: what is optimised",
    "tuning": "Tuning: what is trained",
}


class MethodPane(Vertical):
    """A list each for method and tuning, made from the kinds that the spec knows."""

    class Picked(Message):
        """A kind was picked; `is_last` when nothing else is asked on this step."""

        def __init__(self, section: str, kind: str, is_last: bool) -> None:
            super().__init__()
            self.section = section
            self.kind = kind
            self.is_last = is_last

    def compose(self) -> ComposeResult:
        for section, question in QUESTIONS.items():
            yield Static(question, classes="pane-head")
            yield PickList(id=f"{section}-kinds", help_text=f"{question}. Enter takes one and goes on.")

    def focus_first(self) -> None:
        self.query(PickList).first().focus()

    def focus_option(self, key: str) -> None:
        self.query_one(f"#{key.partition('.')[0]}-kinds").focus()

    def show(self, state: NewRunState) -> None:
        """Follow the draft: the cursors stand on its kinds."""
        for section in QUESTIONS:
            chosen = getattr(state.draft.spec, section).kind
            rows = [
                PickRow(kind, f"{'●' if kind == chosen else '○'} {kind}", (words,))
                for kind, words in kind_help(section).items()
            ]
            self.query_one(f"#{section}-kinds", PickList).show(tuple(rows), chosen)

    @on(OptionList.OptionSelected)
    def pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        sections = list(QUESTIONS)
        section = (event.option_list.id or "").partition("-")[0]
        is_last = section == sections[-1]
        self.post_message(self.Picked(section, event.option_id or "", is_last))
        if not is_last:
            self.query_one(f"#{sections[sections.index(section) + 1]}-kinds").focus()

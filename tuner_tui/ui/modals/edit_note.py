"""A note about a run, and its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from tuner_tui.errors import InputError
from tuner_tui.runs.notes import Note, parse_tags
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult


class EditNote(ModalScreen[Note | None]):
    """Returns the edited note, or None."""

    DEFAULT_CSS = "EditNote TextArea { height: 8; background: $background; margin-top: 1; }"
    BINDINGS = [("ctrl+s", "keep", "Keep"), ("escape", "dismiss(None)", "Leave")]  # noqa: RUF012

    def __init__(self, run_name: str, note: Note) -> None:
        super().__init__()
        self._run_name = run_name
        self._note = note

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(literal(f"Note on {self._run_name}"), classes="title")
            yield Input(" ".join(self._note.tags), placeholder="tags, separated by spaces", compact=True)
            yield TextArea(self._note.text, compact=True, tab_behavior="focus", show_line_numbers=False)
            yield Static("ctrl+s saves it, esc cancels.", classes="hint")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def on_input_submitted(self) -> None:
        self.query_one(TextArea).focus()

    def action_keep(self) -> None:
        try:
            tags = parse_tags(self.query_one(Input).value)
        except InputError as error:
            self.query_one(".hint", Static).update(literal(f"{error.title}: {error.message}"))
            return
        self.dismiss(Note(text=self.query_one(TextArea).text.strip(), tags=tags))

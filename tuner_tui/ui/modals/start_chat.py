"""Asks for the models of a chat; the default is the last finished run and its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import TunerError
from tuner_tui.generation.candidates import candidate_of
from tuner_tui.generation.conversation import Conversation
from tuner_tui.runs.folder import list_runs
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult


class StartChat(ModalScreen[None]):
    """One MODEL or MODEL+ADAPTER per line; opens the chat screen."""

    DEFAULT_CSS = "StartChat TextArea { height: 6; border: none; padding: 0; }"
    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+s", "start", "Start", priority=True),
        Binding("escape", "dismiss", "Back", priority=True),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Models to chat with, one MODEL or MODEL+ADAPTER per line", classes="title")
            yield TextArea(_last_run_and_base())
            yield Static("ctrl+s starts, esc cancels.", classes="hint")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def action_start(self) -> None:
        from tuner_tui.ui.screens.chat import MOST_CANDIDATES, ChatScreen

        lines = [line.strip() for line in self.query_one(TextArea).text.splitlines() if line.strip()]
        try:
            candidates = tuple(dict.fromkeys(candidate_of(line) for line in lines[:MOST_CANDIDATES]))
        except (TunerError, OSError) as error:
            self.query_one(".hint", Static).update(literal(str(error)))
            return
        if candidates:
            self.app.switch_screen(ChatScreen(Conversation(candidates=candidates)))


def _last_run_and_base() -> str:
    """The last run that has an adapter, after its base; the demo's model when there is none."""
    for run in list_runs():
        if (run.adapter / "adapter_config.json").is_file():
            try:
                source = read_spec(run.spec).model.source
            except TunerError:
                continue
            return f"{source}\n{source}+{run.name}"
    return "demo"

"""Asks how to stop a run: save first, or at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tuner_tui.ui.widgets.literal import literal_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.runs.folder import RunFolder

Way = Literal["save", "now"]


class StopModal(ModalScreen[Way | None]):
    """Returns the chosen way, or None; keep running has the focus."""

    BINDINGS = [  # noqa: RUF012
        ("y", "answer('save')", "Save and stop"),
        ("w", "answer('now')", "Stop now"),
        ("n,escape,q", "answer('')", "Keep running"),
    ]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder

    def compose(self) -> ComposeResult:
        detail = (
            f"{self.folder.name}\n\nSave and stop: it finishes the current step, saves a checkpoint and ends; you can "
            "resume it later. "
            "Stop now: it ends at once, and everything since its last checkpoint is lost. A waiting run is "
            "removed from the queue."
        )
        with VerticalScroll(classes="dialog"):
            yield Static("Stop this run?", classes="title")
            yield Static(literal_lines(detail))
            with Horizontal(classes="buttons"):
                yield Button("n  Keep running", id="no", compact=True)
                yield Button("y  Save and stop", id="save", variant="warning", compact=True)
                yield Button("w  Stop now", id="now", variant="error", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    @on(Button.Pressed)
    def take_answer(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id or "")

    def action_answer(self, answer: str) -> None:
        self.dismiss("save" if answer == "save" else "now" if answer == "now" else None)

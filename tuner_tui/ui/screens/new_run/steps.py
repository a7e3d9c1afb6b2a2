"""The five steps of a new run, each with its status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tuner_tui.ui.screens.new_run.state import STEPS, NewRunState, Step, StepState
from tuner_tui.ui.widgets.literal import fit

if TYPE_CHECKING:
    from textual.app import ComposeResult

MARKS = {"done": "✓", "needs": "!", "waiting": "…"}
STYLES = {"done": "$success", "needs": "bold $error", "waiting": "$secondary"}


class StepPicked(Message):
    """A step was clicked."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step


class StepMark(Widget):
    """One step: number and name, with its status below."""

    DEFAULT_CSS = """
    StepMark { width: 1fr; height: 2; padding: 0 1; }
    StepMark.-current { background: $cursor; text-style: bold; }
    StepMark:hover { background: $panel; }
    """

    state: reactive[StepState] = reactive(StepState("waiting", ""))

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self.number = STEPS.index(step) + 1

    def render(self) -> Content:
        width = self.content_size.width
        state = self.state
        name = f"{self.number} {self.step.capitalize()}"
        if self.has_class("-current"):
            name = f"{name} ◂"
        words = f"{MARKS[state.status]} {state.words}" if state.words else ""
        lines = [Content(fit(name, width)), Content.styled(fit(words, width), STYLES[state.status])]
        if self.content_size.height > 2:
            lines.append(Content.styled(fit(f"  {state.detail}", width), "$faint"))
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(StepPicked(self.step))


class StepList(Container):
    """All five, in a row, or in a column on wide screens."""

    DEFAULT_CSS = "StepList { layout: horizontal; height: 2; }"

    current: reactive[Step | None] = reactive[Step | None](None)

    def compose(self) -> ComposeResult:
        for step in STEPS:
            yield StepMark(step)

    def show(self, state: NewRunState | None) -> None:
        """The status of each step; empty before a preset is chosen."""
        for mark in self.query(StepMark):
            mark.state = state.step(mark.step) if state else StepState("waiting", "")

    def watch_current(self, current: Step | None) -> None:
        for mark in self.query(StepMark):
            mark.set_class(mark.step == current, "-current")
            mark.refresh()

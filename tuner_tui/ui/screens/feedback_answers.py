"""One answer on the Feedback screen, and the messages of the thread that generates answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from tuner_tui.errors import TunerError
from tuner_tui.text import counted, shell_command
from tuner_tui.ui.answer_words import answer_content

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.content import Content

    from tuner_tui.feedback.records import Answer
    from tuner_tui.feedback.session import Progress


class AnswersMade(Message):
    """New answers are in the store, or the model's state changed."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, AnswersMade)


class AnswersFailed(Message):
    """Generating answers failed."""

    def __init__(self, error: TunerError) -> None:
        super().__init__()
        self.error = error


class AnswerPane(VerticalScroll, can_focus=False):
    """One answer in full; all panes scroll together."""

    def __init__(self, place: int, answer: Answer, against: str | None) -> None:
        super().__init__()
        self.place, self.answer = place, answer
        self._against = against
        self.border_title = str(place + 1)

    def compose(self) -> ComposeResult:
        yield Static(_content(self.answer, self._against))

    def change(self, answer: Answer, against: str | None) -> None:
        """Show another answer, from its beginning: faster than a new pane."""
        self.answer, self._against = answer, against
        self.border_title = str(self.place + 1)
        self.remove_class("-ranked")
        self.query_one(Static).update(_content(answer, against))
        self.scroll_home(animate=False)


def _content(answer: Answer, against: str | None) -> Content:
    return answer_content(answer.text, "truncated" if answer.is_finished is False else "", against)


def waiting_words(collection: str, progress: Progress, generation: str | None) -> str:
    """Why there is nothing to annotate now, and what to do; `generation` says how far the models are, if any."""
    if progress.waiting and generation is not None:
        return generation
    if progress.waiting:
        return (
            f"{counted(progress.waiting, 'prompt has', 'prompts have')} no answers, and no model is set to "
            "generate them.\n\nSet a model:\n"
            + shell_command("feedback collect", collection, options=["--side", "demo"])
        )
    if progress.saved:
        return (
            f"Everything is annotated: {progress.saved} saved.\n\n"
            "R trains on it, O exports it, m shows your statistics, esc goes back."
        )
    command = shell_command("feedback import", collection, "FILE")
    return f"Nothing to annotate yet.\n\nImport prompts or answers:\n{command}"

"""A column of the chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tuner_tui.text import plain
from tuner_tui.ui.answer_words import answer_content
from tuner_tui.ui.widgets.literal import literal_lines, show

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.generation.conversation import Conversation, Reply


class ChatColumn(VerticalScroll, can_focus=True):
    """The questions and one candidate's answers."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def compose(self) -> ComposeResult:
        yield Static("")

    def show_talk(self, talk: Conversation) -> None:
        """Draw, and scroll to the end."""
        candidate = talk.candidates[self.place]
        parts: list[Content] = []
        for question, row in zip(talk.questions, talk.replies, strict=True):
            reply = row[self.place]
            parts.append(literal_lines(f"> {question}", "bold"))
            if reply.problem:
                parts.append(literal_lines(reply.problem, "$error"))
            elif reply.text or reply.is_done:
                parts.append(answer_content(reply.text, _ending(reply) if reply.is_done else ""))
            else:
                parts.append(Content.styled("…", "$faint"))  # its turn comes
            parts.append(Content(""))
        title = f"{self.place + 1} {plain(candidate.name)}"
        speed = talk.replies[-1][self.place].tokens_per_second if talk.replies else None
        self.border_title = Content(title + (f"  {speed:.1f} tokens/s" if speed else ""))
        show(self.query_one(Static), Content("\n").join(parts))
        self.scroll_end(animate=False)


def _ending(reply: Reply) -> str:
    """Why the answer stopped, and the keys that let the next one be longer."""
    more = "; tab, then o: max_new_tokens" if reply.stopped == "limit" else ""
    return f"{reply.stopped_words}{more}"

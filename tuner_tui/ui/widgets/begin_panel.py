"""Without runs: three ways to start."""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Way(NamedTuple):
    """A way to start: key, name, description, and the screen's action."""

    key: str
    name: str
    words: str
    action: str


WAYS = (
    Way("t", "Try the demo", "Train a small model on this machine, in about two minutes.", "demo"),
    Way("n", "New run", "Your model and your data; shows first whether it fits.", "new_run"),
    Way("d", "Doctor", "Check this machine and show what to fix.", "doctor"),
)


class BeginPanel(Widget, can_focus=True):
    """Three lines to choose from."""

    DEFAULT_CSS = "BeginPanel { height: 1fr; padding: 1 2; }"
    BINDINGS = [  # noqa: RUF012
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("enter", "choose", "Begin", key_display="enter"),
    ]
    help_text = "Three ways to start. Up and down choose one, Enter starts it; each also has its own key."

    chosen: reactive[int] = reactive(0)
    opening: reactive[str] = reactive("")
    """What was chosen and is being started; empty while nothing is."""

    class Chosen(Message):
        """A way was chosen; `action` is the screen's action."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def validate_chosen(self, chosen: int) -> int:
        return max(0, min(chosen, len(WAYS) - 1))

    def render(self) -> Content:
        lines = [Content.assemble(("No runs yet. Three ways to start:", "bold"), "\n")]
        for index, way in enumerate(WAYS):
            is_chosen = index == self.chosen
            lines.append(
                Content.assemble(
                    ("▸ " if is_chosen else "  ", "$primary"),
                    (f"{way.key}  ", "bold $accent"),
                    (f"{way.name:<14}", "bold" if is_chosen else ""),
                    (way.words, "$faint"),
                )
            )
        if self.opening:
            words = f"\n{self.opening.capitalize()} ... its Monitor opens in a few seconds."
            lines.append(Content.styled(words, "bold $accent"))
        return Content("\n").join(lines)

    def action_move(self, lines: int) -> None:
        self.chosen += lines

    def action_choose(self) -> None:
        self.post_message(self.Chosen(WAYS[self.chosen].action))

"""The names of a screen's parts, the shown one marked; keys and clicks choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

if TYPE_CHECKING:
    from textual import events


class TabLine(Widget):
    """One line: `1 Overview  2 Samples`, the shown one also in brackets, for terminals without colours."""

    DEFAULT_CSS = "TabLine { height: 1; padding: 0 1; }"

    shown: reactive[int] = reactive(0)

    class Chosen(Message):
        """A part is to be shown."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._labels = [f"{number} {name}" for number, name in enumerate(names, 1)]

    def render(self) -> Content:
        parts = [
            (f"[{label}]", "bold $primary") if index == self.shown else (f" {label} ", "$secondary")
            for index, label in enumerate(self._labels)
        ]
        return Content.assemble(*parts)

    def on_click(self, event: events.Click) -> None:
        place = event.x - 1
        for index, label in enumerate(self._labels):
            place -= len(label) + 2
            if place < 0:
                self.post_message(self.Chosen(index))
                return

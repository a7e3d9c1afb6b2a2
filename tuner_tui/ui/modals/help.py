"""The keys of a screen, and help for its focused part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuner_tui.text import column
from tuner_tui.ui.keys import keys_of
from tuner_tui.ui.widgets.literal import literal_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.screen import Screen
    from textual.widget import Widget


class HelpModal(ModalScreen[None]):
    """For one screen in its current state: unavailable keys are left out."""

    BINDINGS = [("escape,enter,q,question_mark,f1", "dismiss", "Close")]  # noqa: RUF012

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self._title = str(getattr(screen, "TITLE_WORDS", "") or "This screen")
        self._purpose = str(getattr(screen, "HELP_TEXT", ""))
        self._focused = _help_of(screen.focused)
        self._keys = keys_of(screen)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog keys"):
            yield Static(Content(f"Help: {self._title}"), classes="title")
            if self._focused:
                yield Static(literal_lines(self._focused))
                yield Static("")
            if self._purpose:
                yield Static(literal_lines(self._purpose))
                yield Static("")
            for key in self._keys:
                line = (
                    (column(key.display, 10), "bold $accent"),
                    column(key.name, 13),
                    (key.tooltip, "$faint"),
                )
                yield Static(Content.assemble(*line))
            yield Static(Content.styled("esc closes", "$faint"), classes="hint")


def _help_of(focused: Widget | None) -> str:
    """The help of the focused widget, or of the nearest part around it that has one."""
    nodes = focused.ancestors_with_self if focused is not None else []
    return next((text for node in nodes if (text := str(getattr(node, "help_text", "") or ""))), "")

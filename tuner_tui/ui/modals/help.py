"""The keys of a screen and what its focused part is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuner_tui.ui.widgets.literal import literal_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.screen import Screen


class HelpModal(ModalScreen[None]):
    """Made for one screen at one moment: keys that do nothing just now are left out."""

    BINDINGS = [("escape,enter,q,question_mark,f1", "dismiss", "Close")]  # noqa: RUF012

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self._title = str(getattr(screen, "TITLE_WORDS", "") or "This screen")
        self._purpose = str(getattr(screen, "HELP_TEXT", ""))
        self._focused = str(getattr(screen.focused, "help_text", "") or "")
        self._keys = _keys_of(screen)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(Content(f"Help: {self._title}"), classes="title")
            if self._focused:
                yield Static(literal_lines(self._focused))
                yield Static("")
            if self._purpose:
                yield Static(literal_lines(self._purpose))
                yield Static("")
            width = max((len(key) for key, _, _ in self._keys), default=0)
            for key, name, tooltip in self._keys:
                yield Static(
                    Content.assemble(
                        (f"{key:<{width}}  ", "bold $accent"), f"{name:<16}", (f"  {tooltip}", "$faint")
                    )
                )
            yield Static(Content.styled("esc closes", "$faint"), classes="hint")


def _keys_of(screen: Screen[object]) -> list[tuple[str, str, str]]:
    """Key, name and what it does, for every key that works now; keys of one action share a line."""
    lines: dict[str, tuple[str, str, str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if not active.enabled or not binding.description or binding.system:
            continue
        key = screen.app.get_key_display(binding)
        if binding.action in lines:
            key = f"{lines[binding.action][0]} {key}"
        lines[binding.action] = (key, binding.description, active.tooltip)
    return list(lines.values())

"""Whether a footer is true: all that it shows fits, works now, and help is at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.keys import key_to_character
from textual.widgets._footer import FooterKey

from tests.ui.looking import screen_lines
from tuner_tui.ui.widgets.bars import KeysFooter

if TYPE_CHECKING:
    from textual.app import App


def footer_faults(app: App[Any]) -> list[str]:
    """What is wrong with the footer of the screen in front; empty where it is true, or where there is none."""
    screen = app.screen
    footers = list(screen.query(KeysFooter))
    if not footers or not footers[0].region.height:
        return []
    (footer,) = footers
    line = screen_lines(app)[footer.region.y]
    active = screen.active_bindings
    faults = []
    for key in footer.query(FooterKey):
        words = f"{key.key_display} {key.description}".strip()
        if key.region.right > footer.region.right or cell_len(words) > key.region.width or words not in line:
            faults.append(f"{words!r} is cut off in {line!r}")
        bound = active.get(key.key)
        if bound is None or not bound.enabled or bound.binding.action != key.action:
            faults.append(f"{words!r} does nothing")
        elif not bound.binding.priority and _is_typed(screen.focused, key.key):
            faults.append(f"{words!r} would be typed")
    if any(binding.binding.action in ("help", "app.help") for binding in active.values()):
        helps = [key for key in footer.query(FooterKey) if key.action in ("help", "app.help")]
        if not helps or not line.rstrip().endswith(helps[-1].description):
            faults.append(f"help is not at the end of {line!r}")
    return faults


def _is_typed(focused: Any, key: str) -> bool:
    return focused is not None and focused.check_consume_key(key, key_to_character(key))

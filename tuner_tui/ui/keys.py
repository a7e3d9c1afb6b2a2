"""The keys available on a screen now, for its help and the command palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.screen import Screen

TEXTUALS_OWN = ("scroll_", "page_left", "page_right", "screen.", "app.focus", "focus_", "command_palette")
"""Prefixes of Textual's own actions, which are not listed."""
TEXTUALS_QUIT = "ctrl+q"
"""Works everywhere, beside our own q."""


class Key(NamedTuple):
    """The key, or keys, of one action, as shown."""

    display: str
    name: str
    tooltip: str
    action: str
    node: DOMNode
    is_shown: bool
    """Whether it is in the footer."""
    is_command: bool
    """Whether it does more than navigate in a widget."""


def keys_of(screen: Screen[object]) -> list[Key]:
    """One per available action, with the keys in the footer, else all of its keys; those in the footer first."""
    keys: dict[tuple[int, str], Key] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if not active.enabled or not binding.description or binding.system:
            continue
        if binding.action.startswith(TEXTUALS_OWN) or binding.key == TEXTUALS_QUIT:
            continue
        display = screen.app.get_key_display(binding)
        place = (id(active.node), binding.action)  # a widget's action may be named like its screen's
        if (before := keys.get(place)) is not None:
            if before.is_shown > binding.show or display in before.display.split():
                continue
            if before.is_shown == binding.show:
                display = f"{before.display} {display}"
        keys[place] = Key(
            display=display,
            name=binding.description,
            tooltip=active.tooltip,
            action=binding.action,
            node=active.node,
            is_shown=binding.show,
            is_command=binding.show or active.node in (screen, screen.app),
        )
    return sorted(keys.values(), key=lambda key: not key.is_shown)

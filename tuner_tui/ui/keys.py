"""The keys available on a screen now, for its help and the command palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.screen import Screen

TEXTUALS_OWN = ("scroll_", "page_left", "page_right", "screen.", "app.focus", "focus_", "command_palette")
"""Prefixes of Textual's own actions, which are not listed."""


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
    """One per available action; those in the footer first."""
    keys: dict[str, Key] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if not active.enabled or not binding.description or binding.system:
            continue
        if binding.action.startswith(TEXTUALS_OWN):
            continue
        display = screen.app.get_key_display(binding)
        if binding.action in keys:
            display = f"{keys[binding.action].display} {display}"
        keys[binding.action] = Key(
            display=display,
            name=binding.description,
            tooltip=active.tooltip,
            action=binding.action,
            node=active.node,
            is_shown=binding.show,
            is_command=binding.show or active.node in (screen, screen.app),
        )
    return sorted(keys.values(), key=lambda key: not key.is_shown)

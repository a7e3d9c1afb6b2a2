"""The keys that work on a screen just now, for its help and the command palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.screen import Screen

TEXTUALS_OWN = ("scroll_", "page_left", "page_right", "screen.", "app.focus", "focus_", "command_palette")
"""How the actions begin that every Textual app has; nobody needs them explained."""


class Key(NamedTuple):
    """A key, or the keys of one action, as they are shown."""

    display: str
    name: str
    tooltip: str
    action: str
    node: DOMNode
    is_shown: bool
    """Whether it stands in the footer."""
    is_command: bool
    """Whether it does more than move about in a widget."""


def keys_of(screen: Screen[object]) -> list[Key]:
    """One for each action that can be done now; those of the footer first."""
    found: dict[str, Key] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if not active.enabled or not binding.description or binding.system:
            continue
        if binding.action.startswith(TEXTUALS_OWN):
            continue
        display = screen.app.get_key_display(binding)
        if binding.action in found:
            display = f"{found[binding.action].display} {display}"
        found[binding.action] = Key(
            display=display,
            name=binding.description,
            tooltip=active.tooltip,
            action=binding.action,
            node=active.node,
            is_shown=binding.show,
            is_command=binding.show or active.node in (screen, screen.app),
        )
    return sorted(found.values(), key=lambda key: not key.is_shown)

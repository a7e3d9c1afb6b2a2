"""The lines around every screen: its title above, and the command that does the same without the app below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from tuner_tui.ui.widgets.literal import fit, fit_name

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.screen import Screen


class TitleBar(Widget):
    """The screen's name on the left, its state on the right."""

    DEFAULT_CSS = """
    TitleBar { height: 1; background: $panel; color: $foreground; padding: 0 1; }
    """

    words: reactive[str] = reactive("")
    state: reactive[str] = reactive("")
    busy: reactive[str] = reactive("")
    """What is being done, in place of the state meanwhile; empty otherwise."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.set_reactive(TitleBar.words, words)

    def render(self) -> Content:
        width = self.content_size.width
        words = f"… {self.busy}" if self.busy else self.state
        state = fit(words, min(cell_len(words), max(0, width - 12)))
        brand = "tuner-tui  " if width >= 60 else ""
        room = width - len(brand) - cell_len(state)
        return Content.assemble(
            (brand, "bold $primary"),
            (fit_name(self.words, max(0, room)), "bold"),
            (state, "bold $accent" if self.busy else "bold"),
        )


class CommandBar(Widget):
    """The headless command of this screen; `c` copies it."""

    DEFAULT_CSS = "CommandBar { height: 1; color: $faint; padding: 0 1; }"

    command: reactive[str] = reactive("")

    def render(self) -> Content:
        width = self.content_size.width
        hint = "  c copies" if width >= 50 else ""
        return Content.assemble(
            ("$ ", "bold"), (fit(self.command, max(0, width - 2 - len(hint))), "not dim"), hint
        )

    def on_click(self) -> None:
        self.app.simulate_key("c")


HELP_ACTIONS = ("help", "app.help")


class KeysFooter(Footer):
    """Textual's footer: as many keys as fit whole, help always at its right end, and none that it showed before.

    It is composed anew only where other keys are available: Textual's own makes a widget for each key whenever the
    focus moves, some ten times while a screen opens.

    The keys are bound to its `compact`, and the list of those is cleared of removed ones only when that changes
    (Textual 8.2.8): without this, each visit of another screen would leave all keys of the one below in memory.
    """

    _composed_width = 0
    _composed: tuple[tuple[str, str, str, bool], ...] | None = None

    def compose(self) -> ComposeResult:
        self._composed = self._available() if self._bindings_ready else None
        bound = getattr(self, "__watchers", {}).get("compact", [])
        bound[:] = [(widget, callback) for widget, callback in bound if not widget._closing]
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        helps = [key for key in keys if key.action in HELP_ACTIONS]
        self._composed_width = self.size.width
        room = self.size.width - sum(_width(key) + 1 for key in helps)
        for key in keys:
            key.set_class(
                self.compact, "-compact", update=False
            )  # before it is styled, and not once more after it
            if key in helps:
                key.add_class(
                    "-command-palette", update=False
                )  # Textual's name for what is docked to the right
                continue
            room -= _width(key)
            if room >= 0:
                yield key
        yield from helps

    def bindings_changed(self, screen: Screen[Any]) -> None:
        self._bindings_ready = True
        if screen.app.app_focus and self.is_attached and screen is self.screen:
            self.call_after_refresh(self._show_available)

    async def _show_available(self) -> None:
        if self.is_attached and self._available() != self._composed:
            await self.recompose()

    def _available(self) -> tuple[tuple[str, str, str, bool], ...]:
        """Key, name and action of each binding that a footer shows, and whether it is enabled."""
        return tuple(
            (binding.key, binding.description, binding.action, is_enabled)
            for _, binding, is_enabled, _ in self.screen.active_bindings.values()
            if binding.show
        )

    def on_resize(self, event: events.Resize) -> None:
        """Another width has room for other keys."""
        if self._bindings_ready and event.size.width != self._composed_width:
            self.call_after_refresh(self.recompose)


def _width(key: FooterKey) -> int:
    """Cells of a key in a compact footer: key, space, name and a margin."""
    return cell_len(key.key_display) + (1 + cell_len(key.description) if key.description else 0) + 1

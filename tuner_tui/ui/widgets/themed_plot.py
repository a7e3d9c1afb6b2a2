"""A chart in the theme's colours, drawn again when its size or the theme changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual_plotext import PlotextPlot

if TYPE_CHECKING:
    from textual.app import App, RenderResult


class ThemedPlot(PlotextPlot):  # type: ignore[misc]  # textual-plotext has no types
    """The drawing area; what is drawn, `draw` says."""

    app: App[Any]
    is_empty = True
    """Whether there is nothing to draw yet: plotext would draw a frame around nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.theme = "clear"

    def draw(self) -> None:
        """Draw everything again and refresh."""
        raise NotImplementedError

    def render(self) -> RenderResult:
        return "" if self.is_empty else super().render()

    def on_resize(self) -> None:
        self.draw()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.draw())

    def on_unmount(self) -> None:
        """Unsubscribe: a Textual signal keeps each subscriber until the theme changes."""
        self.app.theme_changed_signal.unsubscribe(self)

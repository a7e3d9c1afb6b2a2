"""What charts share: round numbers along both axes, and the theme's colours as plotext takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.color import Color

from tuner_tui.text import count
from tuner_tui.ui.chart_points import Axis, nice_ticks
from tuner_tui.ui.run_words import rough

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import App
    from textual.geometry import Size

TICK_COLUMNS = 7
"""Room for the numbers on the left."""
TERMINAL_COLOURS = {
    "primary": "cyan",
    "accent": "magenta",
    "success": "green",
    "error": "red",
    "warning": "orange",
    "secondary": "white",
    "faint": "gray",
}
"""What stands for a colour of the theme where the terminal's own colours are used."""


def theme_colour(app: App[Any], name: str) -> str | tuple[int, int, int]:
    """A colour of the theme."""
    if app.native_ansi_color:
        return TERMINAL_COLOURS[name]
    return Color.parse(app.theme_variables[name]).rgb


def scale_axes(
    plot: Any, size: Size, x_range: tuple[float, float], y_range: tuple[float, float], axis: Axis
) -> None:
    """Show so much of the plane on a plotext figure that is drawn at a size in cells."""
    low, high = y_range
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    plot.ylim(low - margin, high + margin)
    most = max(2, size.height // 3)
    rows = nice_ticks(low - margin, high + margin, most)
    if len(rows) < 2:  # one number gives no scale
        rows = nice_ticks(low - margin, high + margin, most + 2)
    plot.yticks(*_apart(rows, [f"{tick:>{TICK_COLUMNS - 1}.4g}" for tick in rows]))
    left, right = x_range
    if right > left:
        plot.xlim(left, right)
    plot.xticks(*x_ticks(left, right, max(2, size.width // 14), axis))
    plot.xaxes(True, False)
    plot.yaxes(True, False)


def x_ticks(left: float, right: float, most: int, axis: Axis) -> tuple[list[float], list[str]]:
    """At most so many places along the x axis, with labels: steps and tokens are whole, and no label comes twice."""
    ticks = list(nice_ticks(left, right, most))
    if axis != "time":
        ticks = [tick for tick in ticks if abs(tick - round(tick)) < 1e-9] or [float(round(right))]
    return _apart(ticks, [_label(tick, axis) for tick in ticks])


def _apart(ticks: Sequence[float], labels: Sequence[str]) -> tuple[list[float], list[str]]:
    """Without ticks whose label another one before has."""
    places = [place for place, label in enumerate(labels) if label not in labels[:place]]
    return [ticks[place] for place in places], [labels[place] for place in places]


def _label(value: float, axis: Axis) -> str:
    if axis == "time":
        return rough(value)
    return count(round(value)) if axis == "tokens" else f"{round(value):,}"

"""A run's loss, or another measure: each step faint, the smoothed curve on top, evaluations as marks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.text import PHASES, number
from tuner_tui.ui.chart_points import (
    AXES,
    LOSS,
    SHARES,
    ZOOMS,
    Axis,
    ChartPoints,
    Zoom,
    along,
    chart_points,
    measures_of,
    title_of,
)
from tuner_tui.ui.plain_terminal import draws_braille
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.plot_axes import TICK_COLUMNS, scale_axes, theme_colour
from tuner_tui.ui.widgets.themed_plot import ThemedPlot

if TYPE_CHECKING:
    from tuner_tui.ui.run_watch import RunView


class Plot(ThemedPlot):
    """The drawing area."""

    points: var[ChartPoints] = var(ChartPoints())
    axis: var[Axis] = var("steps")

    def watch_points(self) -> None:
        self.draw()

    def draw(self) -> None:
        plot, points = self.plt, self.points
        plot.clear_figure()
        self.is_empty = points.is_empty or self.size.width <= TICK_COLUMNS
        if not self.is_empty:
            marker = "braille" if draws_braille(os.environ) else "dot"
            draw_raw = (
                plot.scatter if self.app.no_color else plot.plot
            )  # two lines of one colour would be one
            draw_raw(*map(list, points.raw), marker=marker, color=theme_colour(self.app, "faint"))
            plot.plot(*map(list, points.smooth), marker=marker, color=theme_colour(self.app, "primary"))
            if points.evaluations[0]:
                mark = "●" if draws_braille(os.environ) else "o"
                plot.scatter(
                    *map(list, points.evaluations), marker=mark, color=theme_colour(self.app, "accent")
                )
            scale_axes(plot, self.size, points.x_range, points.y_range, self.axis)
        self.refresh()


class RunChart(Vertical):
    """A line that says what is drawn, and the drawing; before the first step, what the run is doing."""

    DEFAULT_CSS = """
    RunChart { height: 1fr; }
    RunChart .legend { height: 1; padding: 0 1; }
    RunChart .waiting { height: 1fr; content-align: center middle; color: $secondary; }
    """

    view: var[RunView | None] = var(None)
    axis: var[Axis] = var("steps")
    zoom: var[Zoom] = var("whole run")
    measure: var[str] = var(LOSS)

    def __init__(self, measure: str = LOSS) -> None:
        super().__init__()
        self.set_reactive(RunChart.measure, measure)
        self._drawn: tuple[object, ...] = ()
        self._drawn_to = 0.0

    def compose(self) -> ComposeResult:
        yield Static("", classes="legend", markup=False)
        yield Plot()
        yield Static("", classes="waiting", markup=False)

    def watch_view(self) -> None:
        self._show()

    def watch_axis(self) -> None:
        self._show()

    def watch_zoom(self) -> None:
        self._show()

    def watch_measure(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self._show()

    def turn_measure(self) -> None:
        """The next measure that the run has values of."""
        if self.view is not None:
            measures = measures_of(self.view.run.curves)
            place = measures.index(self.measure) if self.measure in measures else -1
            self.measure = measures[(place + 1) % len(measures)]

    def turn_axis(self) -> None:
        """By steps, tokens or time."""
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]

    def turn_zoom(self) -> None:
        """The whole run, its last half or its last tenth."""
        self.zoom = ZOOMS[(ZOOMS.index(self.zoom) + 1) % len(ZOOMS)]

    def _show(self) -> None:
        view = self.view
        if view is None or not self.is_mounted:
            return
        columns = max(8, self.size.width - TICK_COLUMNS)
        if not self._is_due(view, columns):
            return
        points = chart_points(
            view.run.curves, view.run.evaluations, self.axis, self.zoom, columns, self.measure
        )
        plot, waiting = self.query_one(Plot), self.query_one(".waiting", Static)
        plot.display, waiting.display = not points.is_empty, points.is_empty
        plot.axis = self.axis
        plot.points = points
        if points.is_empty:
            show(waiting, literal(self._waiting_words(view)))
        show(self.query_one(".legend", Static), self._legend(points))

    def _is_due(self, view: RunView, columns: int) -> bool:
        """Whether the chart would differ by at least half a column."""
        run = view.run
        settings = (
            self.measure,
            self.axis,
            self.zoom,
            columns,
            self.size.height,
            len(run.evaluations),
            view.status,
            view.waits,
            run.phase,
        )
        xs = along(run.curves, self.axis)
        end = xs[-1] if xs else 0.0
        moved = SHARES[self.zoom] * (end - xs[0]) / (2 * columns) if xs else 0.0
        if settings == self._drawn and 0 <= end - self._drawn_to < moved:
            return False
        self._drawn, self._drawn_to = settings, end
        return True

    def _legend(self, points: ChartPoints) -> Content:
        if points.is_empty:
            return Content("")
        parts = [literal(title_of(self.measure), "bold"), Content.styled("· each step", "$faint")]
        if points.smooth[0]:
            parts.append(Content.styled("─ smoothed", "$primary"))
        if points.evaluations[0]:
            parts.append(Content.styled(f"● held out {number(points.evaluations[1][-1])}", "$accent"))
        if points.gaps:
            parts.append(Content.styled("! not finite in places", "$error"))
        parts.append(Content.styled(f"by {self.axis}, {self.zoom}", "$faint"))
        while sum(part.cell_length + 2 for part in parts) > self.size.width and len(parts) > 1:
            parts.pop()  # whole parts only
        return Content("  ").join(parts)

    def _waiting_words(self, view: RunView) -> str:
        """Why there is no curve yet."""
        if view.status == "queued":
            return f"Queued: {view.waits.rstrip('.') or 'starts when enough memory is free'}."
        if not view.is_live:
            return f"This run has no step with a {title_of(self.measure)}."
        phase = view.run.phase
        detail = f": {view.run.phase_detail}" if view.run.phase_detail else ""
        return f"{PHASES[phase].capitalize()}{detail} ..." if phase else "Starting ..."

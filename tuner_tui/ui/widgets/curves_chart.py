"""The curves of several runs in one chart, each with its letter at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.runs.comparison import ComparedRun, has_one_kind_of_loss
from tuner_tui.text import number
from tuner_tui.ui.chart_points import AXES, LOSS, Axis, Points, chart_points
from tuner_tui.ui.plain_terminal import draws_braille
from tuner_tui.ui.widgets.literal import fit_name, literal, show
from tuner_tui.ui.widgets.plot_axes import TICK_COLUMNS, scale_axes, theme_colour
from tuner_tui.ui.widgets.runs_table import Mark
from tuner_tui.ui.widgets.themed_plot import ThemedPlot

if TYPE_CHECKING:
    pass


Measure = Literal["training loss, smoothed", "held-out loss", "learning rate", "gradient norm, smoothed"]
MEASURES: tuple[Measure, ...] = (
    "training loss, smoothed",
    "held-out loss",
    "learning rate",
    "gradient norm, smoothed",
)
HELD_OUT = MEASURES[1]
OTHERS = {"learning rate": "learning_rate", "gradient norm, smoothed": "grad_norm"}
"""Names in the curves of what is not a loss."""


@dataclass(frozen=True)
class Line:
    """One run's curve."""

    letter: str
    colour: str
    points: Points


class CurvesPlot(ThemedPlot):
    """The drawing area."""

    lines: var[tuple[Line, ...]] = var(())
    axis: var[Axis] = var("steps")

    def watch_lines(self) -> None:
        self.draw()

    def draw(self) -> None:
        plot = self.plt
        plot.clear_figure()
        drawn = [line for line in self.lines if line.points[0]]
        self.is_empty = not drawn or self.size.width <= TICK_COLUMNS
        if not self.is_empty:
            marker = "braille" if draws_braille(os.environ) else "dot"
            xs = [x for line in drawn for x in line.points[0]]
            ys = [y for line in drawn for y in line.points[1]]
            for line in drawn:
                colour = theme_colour(self.app, line.colour)
                plot.plot(*map(list, line.points), marker=marker, color=colour)
            for line in drawn:  # on top of all curves
                colour = theme_colour(self.app, line.colour)
                end = (line.points[0][-1], line.points[1][-1])
                plot.text(line.letter, *end, color=colour, background="default", alignment="right")
            scale_axes(plot, self.size, (min(xs), max(xs)), (min(ys), max(ys)), self.axis)
        self.refresh()


class CurvesChart(Vertical):
    """The legend and the chart."""

    DEFAULT_CSS = """
    CurvesChart { height: 1fr; }
    CurvesChart #curves-legend { height: auto; max-height: 4; padding: 0 1; }
    CurvesChart #curves-none { height: 1fr; content-align: center middle; color: $secondary; }
    """

    compared: var[tuple[ComparedRun, ...]] = var(())
    marks: var[Mapping[str, Mark]] = var({})
    axis: var[Axis] = var("steps")
    measure: var[Measure] = var(MEASURES[0])

    def compose(self) -> ComposeResult:
        yield Static("", id="curves-legend", markup=False)
        yield CurvesPlot()
        yield Static("No step with a loss yet.", id="curves-none", markup=False)

    def watch_compared(self) -> None:
        self._show()

    def watch_axis(self) -> None:
        self._show()

    def watch_measure(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self._show()

    def turn_axis(self) -> None:
        """By steps, tokens or time."""
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]

    def turn_measure(self) -> None:
        """The loss in training or on held-out rows, the learning rate, or the gradient norm."""
        self.measure = MEASURES[(MEASURES.index(self.measure) + 1) % len(MEASURES)]

    def _show(self) -> None:
        if not self.is_mounted:
            return
        columns = max(8, self.size.width - TICK_COLUMNS)
        lines = tuple(self._line(run, columns) for run in self.compared)
        plot, none = self.query_one(CurvesPlot), self.query_one("#curves-none", Static)
        plot.axis = self.axis
        plot.lines = lines
        has_curves = any(line.points[0] for line in lines)
        plot.display, none.display = has_curves, not has_curves
        if self.compared and not has_curves:
            words = "No held-out rows." if self.measure == HELD_OUT else "No step with a loss yet."
            show(none, literal(words))
        show(self.query_one("#curves-legend", Static), self._legend(lines))

    def _line(self, run: ComparedRun, columns: int) -> Line:
        letter, colour = self.marks.get(run.folder.name, ("·", "primary"))
        measure = OTHERS.get(self.measure, LOSS)
        points = chart_points(run.run.curves, run.run.evaluations, self.axis, "whole run", columns, measure)
        if self.measure == HELD_OUT:
            return Line(letter, colour, points.evaluations)
        return Line(letter, colour, points.smooth if points.smooth[0] else points.raw)

    def _legend(self, lines: tuple[Line, ...]) -> Content:
        """What is drawn, then each run with its last value, as many per line as fit."""
        parts: list[Content | tuple[str, str] | str] = [(f"{self.measure}, by {self.axis}", "bold")]
        if self.measure not in OTHERS and not has_one_kind_of_loss(self.compared):
            parts.append(("  ! losses of different kinds", "$warning"))
        width = max(20, self.size.width - 2)
        cell = width if width < 60 else (width - 2) // 2
        for number_, (line, run) in enumerate(zip(lines, self.compared, strict=True)):
            parts.append("\n" if number_ % (width // cell) == 0 else "  ")
            value = number(line.points[1][-1]) if line.points[1] else "-"
            name = fit_name(run.folder.name, max(8, cell - 12))
            parts += [(f"{line.letter} {value:<9} ", f"${line.colour}"), literal(name)]
        return Content.assemble(*parts)

"""The hardware during a run as small charts: two lines on a small screen, one per gauge on a tall one."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.reactive import var
from textual.widget import Widget

from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.run_words import BARS
from tuner_tui.ui.telemetry_words import Gauge, gauges

SPARK_CELLS = 6
NAME_CELLS, WORDS_CELLS = 11, 28


class TelemetryPanel(Widget):
    """Draws known values and marks others as unknown."""

    DEFAULT_CSS = "TelemetryPanel { height: 2; padding: 0 1; }"

    view: var[RunView | None] = var(None)

    def __init__(self) -> None:
        super().__init__()
        self._gauges: list[Gauge] = []

    def watch_view(self, before: RunView | None, view: RunView | None) -> None:
        """Readings come once a second; a new gauge, such as a GPU's first reading, needs another line."""
        if view is None or (before is not None and before.telemetry is view.telemetry and view.is_live):
            return
        uses_gpu = None if view.run.model is None else view.run.model.device != "cpu"
        known = len(self._gauges)
        self._gauges = gauges(view.telemetry, uses_gpu, is_live=view.is_live)
        self.refresh(layout=len(self._gauges) != known)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Where the height is free, a line for each gauge."""
        return len(self._gauges)

    def render(self) -> Content:
        gauges = self._gauges
        if self.content_size.height >= len(gauges):
            return Content("\n").join(self._row(gauge) for gauge in gauges)
        return self._flow(gauges)

    def _row(self, gauge: Gauge) -> Content:
        room = self.content_size.width - NAME_CELLS - WORDS_CELLS
        return Content.assemble(
            (f"{gauge.name:<{NAME_CELLS}}", "$faint"),
            (f"{gauge.words}  ", _style(gauge)),
            (f"{gauge.more:<{max(0, WORDS_CELLS - len(gauge.words) - 2)}}", "$faint"),
            (_bars(gauge.series, room), "$faint"),
        )

    def _flow(self, gauges: list[Gauge]) -> Content:
        """Gauges one after another, as many as fit into the lines there are."""
        lines: list[list[tuple[str, str]]] = [[]]
        used = 0
        for gauge in gauges:
            bars = _bars(gauge.series, SPARK_CELLS)
            length = len(gauge.name) + 1 + len(gauge.words) + (1 + len(bars) if bars else 0)
            if used and used + 3 + length > self.content_size.width:
                lines.append([])
                used = 0
            if used:
                lines[-1].append(("   ", ""))
                used += 3
            lines[-1] += [(f"{gauge.name} ", "$faint"), (gauge.words, _style(gauge))]
            lines[-1].append((f" {bars}" if bars else "", "$faint"))
            used += length
        visible = lines[: max(1, self.content_size.height)]
        return Content("\n").join(Content.assemble(*line) for line in visible)


def _style(gauge: Gauge) -> str:
    if gauge.is_hot:
        return "bold $warning"
    return "bold" if gauge.is_known else "$secondary"


def _bars(series: tuple[float, ...], width: int) -> str:
    """The newest values, from empty to full."""
    newest = series[-width:] if width > 0 else ()
    return "".join(BARS[round(value * (len(BARS) - 1))] for value in newest)

"""The list of runs: draws only the lines in view, so five thousand runs cost as much as twenty."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tuner_tui.ui import run_words
from tuner_tui.ui.widgets.literal import fit, fit_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual import events

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary

Mark = tuple[str, str]
STATUS, LOSS, WHEN, METHOD = 14, 10, 11, 8
GAP = 2
NAME = 22
"""Cells that a run's name keeps on a wide screen, before the model, which most names begin with, and the course."""
AGES_EVERY_SECONDS = 10.0
"""How long ago runs ended is shown anew, also where nothing else changes."""


@dataclass(frozen=True)
class Columns:
    """How wide each column is at a width; those that find no room have none."""

    name: int
    progress: int
    bar: int
    loss: int
    spark: int
    when: int
    took: int
    method: int
    model: int

    @classmethod
    def at(cls, width: int) -> Columns:
        """The name gets what is left; the narrower the screen, the fewer columns."""
        shown = dict.fromkeys(("progress", "bar", "loss", "spark", "when", "took", "method", "model"), 0)
        least = NAME if width >= 94 else 12
        left = width - 2 - STATUS - least
        wishes = (
            ("progress", 9, 0),
            ("loss", LOSS, 66),
            ("when", WHEN, 56),
            ("method", METHOD, 78),
            ("model", 14, 94),
            ("spark", 8, 104),
            ("took", 13, 118),
            ("model", 22, 130),
            ("model", 30, 160),
            ("bar", 12, 170),
            ("spark", 24, 190),
        )
        for column, cells, at_width in wishes:
            more = cells - shown[column] + (0 if shown[column] else GAP)
            if width >= at_width and left >= more:
                left -= more
                shown[column] = cells
        return cls(name=max(4, left + least), **shown)


class RunsHeading(Widget):
    """The names of the columns, above the table; `order` is marked."""

    DEFAULT_CSS = "RunsHeading { height: 1; color: $faint; }"

    order: reactive[str] = reactive("")
    """The column by which the runs are sorted; empty for the newest first."""

    def render(self) -> Content:
        at = Columns.at(self.size.width)
        words = "run, newest first" if not self.order and at.name >= len("run, newest first") else "run"
        if self.order and not getattr(at, self.order, 1):
            words = f"run, by {self.order} ▼"  # its column has no room
        status = "status ▼" if self.order == "status" else "status"
        cells = [f"  {status:<{STATUS}}", fit(words, at.name)]
        for name, width in (
            ("steps", at.progress),
            ("", at.bar),
            ("loss", at.loss),
            ("course", at.spark),
            ("method", at.method),
            ("left, ended", at.when),
            ("took", at.took),
            ("model", at.model),
        ):
            if width:
                words = f"{name} ▼" if name and name == self.order else name
                is_number = name in ("steps", "loss")
                cells.append(" " * GAP + fit(words.rjust(width) if is_number else words, width))
        return Content("".join(cells))


class RunsTable(ScrollView, can_focus=True):
    """One line a run, newest first; a run whose summary is not read yet shows its name alone."""

    DEFAULT_CSS = """
    RunsTable { height: 1fr; overflow-x: hidden; }
    RunsTable > .runs--cursor { background: $cursor; text-style: bold; }
    RunsTable:ansi > .runs--cursor { text-style: reverse; }
    RunsTable > .runs--primary { color: $primary; }
    RunsTable > .runs--secondary { color: $secondary; }
    RunsTable > .runs--success { color: $success; }
    RunsTable > .runs--warning { color: $warning; }
    RunsTable > .runs--error { color: $error; }
    RunsTable > .runs--faint { color: $faint; }
    RunsTable > .runs--accent { color: $accent; }
    """
    COMPONENT_CLASSES = {  # noqa: RUF012
        "runs--cursor",
        "runs--primary",
        "runs--secondary",
        "runs--success",
        "runs--warning",
        "runs--error",
        "runs--faint",
        "runs--accent",
    }
    BINDINGS = [  # noqa: RUF012
        Binding("up,k", "move(-1)", "Up", show=False, tooltip="Previous run"),
        Binding("down,j", "move(1)", "Down", show=False, tooltip="Next run"),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000)", "Newest", show=False),
        Binding("end", "move(1000000)", "Oldest", show=False),
        Binding("enter", "open", "Open", key_display="enter", tooltip="Open the selected run"),
    ]
    help_text = (
        "Your runs, the newest first: status, steps, last loss with a sparkline from the first step to the "
        "last, the time left or since the end, method and model. Up and down select one, Enter opens it, S sorts."
    )

    folders: reactive[tuple[RunFolder, ...]] = reactive(())
    summaries: reactive[Mapping[str, RunSummary]] = reactive({}, always_update=True)
    cursor: reactive[int] = reactive(0)
    none_words: reactive[str] = reactive("")
    """Why there is no run in the list."""
    marks: reactive[Mapping[str, Mark]] = reactive({})
    """A letter and a colour of the theme for runs that are marked, by name."""

    class Opened(Message):
        """A run is to be shown."""

        def __init__(self, folder: RunFolder) -> None:
            super().__init__()
            self.folder = folder

    class Moved(Message):
        """Another run is chosen, or other runs are in view."""

    @property
    def chosen(self) -> RunFolder | None:
        """The run under the cursor."""
        return self.folders[self.cursor] if self.cursor < len(self.folders) else None

    @property
    def in_view(self) -> tuple[RunFolder, ...]:
        """The runs whose lines can be seen."""
        top = round(self.scroll_y)
        return self.folders[top : top + max(1, self.size.height)]

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, len(self.folders) - 1))

    def watch_folders(self, before: tuple[RunFolder, ...], folders: tuple[RunFolder, ...]) -> None:
        """Stay on the chosen run when others come or go above it."""
        chosen = before[self.cursor] if self.cursor < len(before) else None
        self.virtual_size = Size(self.size.width, len(folders))
        self.cursor = folders.index(chosen) if chosen in folders else self.cursor
        self.refresh()
        if self.is_attached and bool(before) != bool(folders):
            self.screen.refresh_bindings()
        self.post_message(self.Moved())

    def watch_summaries(self) -> None:
        self.refresh()

    def watch_marks(self) -> None:
        self.refresh()

    def watch_cursor(self) -> None:
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def on_mount(self) -> None:
        self.set_interval(AGES_EVERY_SECONDS, self.refresh)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Moved())

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.folders))
        self.post_message(self.Moved())

    def render_line(self, y: int) -> Strip:
        index = y + round(self.scroll_offset.y)
        width = self.size.width
        if not self.folders and y == 0 and self.none_words:
            words = Segment(fit(f"  {self.none_words}", width), self.rich_style)
            return Strip([words], width)
        if index >= len(self.folders):
            return Strip.blank(width, self.rich_style)
        is_chosen = index == self.cursor
        folder = self.folders[index]
        style = self.rich_style
        if is_chosen:
            style += self.get_component_rich_style("runs--cursor", partial=True)
        cells = self._cells(folder, self.summaries.get(folder.name), Columns.at(width))
        letter, colour = self.marks.get(folder.name, (" ", "primary"))
        own = Style.null() if is_chosen and style.reverse else self._style(colour)
        segments = [Segment("▸" if is_chosen else " ", style), Segment(letter, style + own)]
        is_reversed = is_chosen and bool(style.reverse)  # where colours would become backgrounds
        segments += [Segment(text, style if is_reversed else style + own) for text, own in cells]
        return Strip(segments).adjust_cell_length(width, style)

    def _cells(self, folder: RunFolder, summary: RunSummary | None, at: Columns) -> list[tuple[str, Style]]:
        """A run's line, text and style by turns."""
        name = fit_name(folder.name, at.name)
        if summary is None:
            return [(" " * STATUS + name, Style.null())]
        plain, faint = Style.null(), self._style("faint")
        mark, colour = run_words.MARKS[summary.status]
        cells = [(fit(f"{mark} {summary.status}", STATUS), self._style(colour)), (name, plain)]
        if summary.is_damaged or (not summary.is_live and (summary.problem or summary.failure)):
            words = summary.problem or summary.failure
            rest = sum(cells + GAP for cells in (at.progress, at.bar, at.loss, at.spark, at.method) if cells)
            cells.append((" " * GAP + fit(words, max(0, rest - GAP)), self._style("warning")))
        else:
            cells += self._course(summary, at)
            if at.method:
                cells.append((" " * GAP + fit(summary.method, at.method), faint))
        now = time.time()
        if at.when:
            cells.append((" " * GAP + fit(run_words.when_words(summary, now), at.when), faint))
        if at.took:
            cells.append((" " * GAP + fit(run_words.took_words(summary, now), at.took), faint))
        if at.model:
            cells.append((" " * GAP + fit(run_words.model_words(summary), at.model), faint))
        return cells

    def _course(self, summary: RunSummary, at: Columns) -> list[tuple[str, Style]]:
        """Progress, loss and its course."""
        plain, faint = Style.null(), self._style("faint")
        cells = [(" " * GAP + fit(run_words.progress_words(summary).rjust(at.progress), at.progress), plain)]
        if at.bar:
            share = summary.step / summary.total_steps if summary.total_steps else 0.0
            done, left = run_words.progress_bar(share, at.bar)
            cells += [(" " * GAP + done, self._style("primary")), (left, faint)]
        if at.loss:
            cells.append((" " * GAP + fit(run_words.loss_words(summary).rjust(at.loss), at.loss), plain))
        if at.spark:
            line = run_words.sparkline(summary.loss_curve, at.spark)
            cells.append((" " * GAP + fit(line, at.spark), self._style("primary")))
        return cells

    def _style(self, name: str) -> Style:
        """A colour alone, so that the cursor's background shows through."""
        return Style(color=self.get_component_rich_style(f"runs--{name}").color)

    def action_move(self, lines: int) -> None:
        self.cursor += lines

    def action_page(self, pages: int) -> None:
        self.cursor += pages * max(1, self.size.height - 1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is a run to open."""
        return self.chosen is not None if action == "open" else True

    def action_open(self) -> None:
        if self.chosen is not None:
            self.post_message(self.Opened(self.chosen))

    def on_click(self, event: events.Click) -> None:
        line = event.y + round(self.scroll_offset.y)
        if line < len(self.folders):
            self.cursor = line
            if event.chain == 2:
                self.action_open()

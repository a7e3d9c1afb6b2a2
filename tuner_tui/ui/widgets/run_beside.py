"""The selected run beside the list: its facts and its curve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.text import counted, duration, number
from tuner_tui.ui import run_words
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.widgets.literal import literal, literal_lines, show
from tuner_tui.ui.widgets.wrapped_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import ComposeResult
    from textual.timer import Timer

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary
    from tuner_tui.ui.run_watch import RunView, RunViewed, RunWatch

SETTLED_SECONDS = 0.15
"""A run is read once it stayed selected for so long."""


def about_words(summary: RunSummary | None) -> str:
    """A run's method, tuning, model, data and time in a line."""
    if summary is None:
        return ""
    what = ", ".join(filter(None, (summary.method, summary.tuning)))
    model = f" of {run_words.model_words(summary)}" if summary.model else ""
    data = f" on {summary.data.rstrip('/').rpartition('/')[2]}" if summary.data else ""
    took = run_words.took_words(summary, time.time())
    return f"{what}{model}{data}" + (f", {took}" if took else "")


class RunBeside(Vertical):
    """Follows the chosen run while it is shown."""

    DEFAULT_CSS = """
    RunBeside { border-left: solid $panel; }
    RunBeside #beside-facts { height: auto; max-height: 60%; padding: 0 1; margin-bottom: 1; }
    """

    folder: var[RunFolder | None] = var(None)
    summary: var[RunSummary | None] = var(None)
    view: var[RunView | None] = var(None)
    is_watching: var[bool] = var(False)
    """Whether this is in view, on the screen in front."""

    def __init__(self) -> None:
        super().__init__()
        self._watch: RunWatch | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static("", id="beside-facts", markup=False)

    def on_unmount(self) -> None:
        self._end()

    def watch_folder(self) -> None:
        self._show()
        self._begin_again()

    def watch_is_watching(self) -> None:
        self._begin_again()

    def watch_summary(self) -> None:
        self._show()

    async def watch_view(self, view: RunView | None) -> None:
        """The chart is made when it is needed: the app starts without what draws it."""
        if view is None:
            return
        from tuner_tui.ui.widgets.run_chart import RunChart

        if not self.query(RunChart):
            await self.mount(RunChart())
        self.query_one(RunChart).view = view
        self._show()

    def on_resize(self) -> None:
        self._show()

    def on_run_viewed(self, message: RunViewed) -> None:
        if self.folder is not None and message.view.folder == self.folder:
            self.view = message.view

    def _begin_again(self) -> None:
        self._end()
        if self.is_watching and self.folder is not None:
            self._timer = self.set_timer(SETTLED_SECONDS, self._begin)

    def _begin(self) -> None:
        from tuner_tui.ui.run_watch import RunWatch

        if self.folder is not None and self.is_watching:
            self._watch = RunWatch(self.folder, self.post_message)
            start_feeder(self.app, self._watch.run)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        if self._watch is not None:
            self._watch.end()
        self._timer = self._watch = None

    def _show(self) -> None:
        if not self.is_mounted or not self.display:
            return
        is_known = self.view is not None and self.view.folder == self.folder
        for chart in self.query("RunChart"):
            chart.display = is_known
        facts = self.query_one("#beside-facts", Static)
        width = max(1, self.content_size.width - 2)
        lines = [entry.wrapped(width) for entry in self._facts(self.view if is_known else None)]
        show(facts, Content("\n").join(lines))

    def _facts(self, view: RunView | None) -> Iterator[Entry]:
        if self.folder is None:
            return
        yield Entry(Content(""), literal(self.folder.name, "bold"))
        summary = self.summary
        if summary is None:
            return
        yield _fact("status", summary.status)
        for name, words in (
            ("method", summary.method),
            ("tuning", summary.tuning),
            ("model", summary.model or ""),
            ("data", summary.data),
            ("steps", run_words.progress_words(summary)),
            ("loss", run_words.loss_words(summary)),
        ):
            if words:
                yield _fact(name, words)
        if view is not None:
            yield from _read(view)
        if summary.problem:
            yield _fact("problem", summary.problem)


def _read(view: RunView) -> Iterator[Entry]:
    """What only the run's events have; what reads these is loaded by then, which the app starts without."""
    from tuner_tui.runs.ending_words import ending_words

    run = view.run
    if run.best_evaluation is not None:
        yield _fact(
            "held out", f"{number(run.best_evaluation.loss)} at best, step {run.best_evaluation.step}"
        )
    if run.active_seconds:
        yield _fact("time", duration(run.active_seconds))
    if run.started_at:
        yield _fact("started", time.strftime("%d %b %Y, %H:%M", time.localtime(run.started_at)))
    if run.checkpoints:
        yield _fact("saved", counted(len(run.checkpoints), "checkpoint"))
    if view.waits:
        yield _fact("waits", view.waits)
    if run.ending is not None:
        words = ending_words(run.ending, run.attempt)
        yield Entry(Content(""), literal_lines(words[:1].upper() + words[1:], "$secondary"))


def _fact(name: str, words: str) -> Entry:
    return Entry(Content.styled(f"{name:<10}", "$faint"), literal(words))

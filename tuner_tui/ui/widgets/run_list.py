"""Runs under their headings, with a filter over all that is shown and an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.reactive import var
from textual.widgets import Input

from tuner_tui.text import counted
from tuner_tui.ui.run_order import next_order, shown_runs
from tuner_tui.ui.widgets.runs_table import RunsHeading, RunsTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.notes import Note
    from tuner_tui.runs.summary import RunSummary


class RunList(Vertical):
    """The table gets the runs that match, in the chosen order; its messages pass on to the screen."""

    DEFAULT_CSS = """
    RunList { height: 1fr; }
    RunList > Input { margin: 0 1; }
    """

    folders: var[tuple[RunFolder, ...]] = var(())
    summaries: var[Mapping[str, RunSummary]] = var({}, always_update=True)
    notes: var[Mapping[str, Note]] = var({})
    sought: var[str] = var("")
    order: var[str] = var("")

    def __init__(self, folders: tuple[RunFolder, ...], id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.set_reactive(RunList.folders, folders)

    def compose(self) -> ComposeResult:
        table = RunsTable()
        table.set_reactive(RunsTable.folders, self.folders)
        yield RunsHeading()
        yield table

    @property
    def table(self) -> RunsTable:
        return self.query_one(RunsTable)

    @property
    def is_filtering(self) -> bool:
        """Whether the filter is being typed."""
        return self.is_mounted and bool(self.query("Input:focus"))

    @property
    def count_words(self) -> str:
        """How many runs are shown."""
        shown, total = len(self.table.folders), len(self.folders)
        return f"{shown} of {total} runs" if self.sought else counted(total, "run")

    def watch_folders(self) -> None:
        self._narrow()

    def watch_notes(self) -> None:
        if self.sought:
            self._narrow()

    def watch_sought(self) -> None:
        self._narrow()

    def watch_order(self, order: str) -> None:
        if self.is_mounted:
            self.query_one(RunsHeading).order = order
            self._narrow()

    def watch_summaries(self, summaries: Mapping[str, RunSummary]) -> None:
        if self.is_mounted:
            self.table.summaries = summaries
            if self.sought or self.order:
                self._narrow()

    def _narrow(self) -> None:
        if self.is_mounted:
            table = self.table
            shown = shown_runs(self.folders, self.summaries, self.notes, self.sought, self.order)
            table.none_words = f"No run matches {self.sought!r}; esc shows all." if self.sought else ""
            table.folders = shown
            table.post_message(table.Moved())  # also where the same runs are shown, of more or of fewer

    def turn_order(self) -> None:
        """Sort by the next column."""
        self.order = next_order(self.order)

    async def open_filter(self) -> None:
        """The line in which the filter is typed, with the focus at once: keys that are typed ahead go to it."""
        if not self.query(Input):
            line = Input(placeholder="any part of a run's line or note; #tag", id="filter", compact=True)
            await self.mount(line, before=self.query_one(RunsHeading))
        self.screen.set_focus(self.query_one(Input))

    def close_filter(self) -> bool:
        """Show all runs again; False where none was left out."""
        lines = self.query(Input)
        if not lines and not self.sought:
            return False
        lines.remove()
        self.sought = ""
        self.screen.set_focus(self.table)
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.sought = event.value.strip()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.set_focus(self.table)

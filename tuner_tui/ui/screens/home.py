"""Home: this machine, its problems, and all runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.runs.folder import list_runs, unlisted_runs
from tuner_tui.text import shell_command
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.machine_watch import MachineRead, MachineWatch
from tuner_tui.ui.runs_feed import RunEnded, RunsFeed, RunsListed, SummariesRead
from tuner_tui.ui.screens.base import ActionDone
from tuner_tui.ui.screens.run_keys import RunKeys
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.begin_panel import BeginPanel
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.machine_panel import MachinePanel
from tuner_tui.ui.widgets.run_beside import RunBeside, about_words
from tuner_tui.ui.widgets.run_list import RunList
from tuner_tui.ui.widgets.runs_table import RunsTable

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.ui.hardware_words import Machine

DOORS = "a Chat  f Feedback  m Runs  w Queue  h Downloads  o Settings  d Doctor  ^p All"
"""Where to go from here; the footer has what can be done with a run."""
BESIDE_WIDTH, BESIDE_HEIGHT = 130, 20
"""From this size on the chosen run stands beside the list."""


class Home(RunKeys):
    """The first screen."""

    TITLE_WORDS = "Home"
    HELP_TEXT = "Your machine and your runs. Runs continue without the app, which only watches them and sends requests."
    BINDINGS = [  # noqa: RUF012
        Binding("n", "new_run", "New", tooltip="Choose a model, data and a method"),
        Binding("t", "demo", "Demo", tooltip="Train a small model to be the octopus librarian Inkwell"),
        Binding("N", "same_again", "Again", tooltip="New run from this run's settings"),
        Binding("e", "share", "Share", show=False, tooltip="Export the result, or push it to the Hub"),
        Binding("r", "resume", "Resume", tooltip="Resume from the last checkpoint"),
        Binding("x", "stop", "Stop", tooltip="Save and stop, or remove from the queue"),
        Binding("p", "pause", "Pause", tooltip="Save and free its memory; resume it later"),
        Binding("delete,D", "delete", "Delete", key_display="del", tooltip="Move the run to the trash"),
        Binding(
            "slash",
            "filter",
            "Filter",
            key_display="/",
            priority=True,  # keys typed right after it belong to the input
            tooltip="Show only runs with this text in their line",
        ),
        Binding("escape", "clear_filter", "All runs", key_display="esc"),
        Binding("S", "sort", "Sort", show=False, tooltip="Sort by another column, or the newest first"),
        Binding("m", "runs", "Runs", show=False, tooltip="Compare runs, notes, branch, clean up"),
        Binding("w", "queue", "Queue", show=False, tooltip="The waiting runs, in order"),
        Binding(
            "h",
            "app.downloads",
            "Downloads",
            show=False,
            tooltip="Download from the Hub, and clean its cache",
        ),
        Binding("o", "settings", "Settings", show=False, tooltip="Folders, theme, notifications, trackers"),
        Binding("d", "doctor", "Doctor", show=False, tooltip="Check this machine and show what to fix"),
    ]

    folders: var[tuple[RunFolder, ...]] = var(())
    machine: var[Machine | None] = var(None)

    def __init__(self) -> None:
        super().__init__()
        self.set_reactive(Home.folders, tuple(list_runs()))
        self._feed = RunsFeed(self.post_message, self.folders)
        self._machine = MachineWatch(self.post_message, lambda message: self.app.post_message(message))
        self._offered: tuple[object, ...] = ()

    @property
    def headless_command(self) -> str:
        chosen = self.run_list.table.chosen if self.is_mounted and self.folders else None
        return shell_command("runs show", chosen.name) if chosen else "tuner-tui demo"

    def compose_body(self) -> ComposeResult:
        yield MachinePanel().data_bind(Home.machine)
        with Horizontal(id="runs-and-run"):
            yield RunList(self.folders).data_bind(Home.folders, Home.summaries)
            yield RunBeside()
        yield BeginPanel().data_bind(Home.opening)
        yield Static("", id="about", markup=False)
        yield Static(DOORS, id="doors", markup=False)

    def on_mount(self) -> None:
        self._show_list_or_ways()
        if not self.folders and (problem := unlisted_runs()) is not None:
            self.notify(str(problem), severity="error", timeout=30, markup=False)
        self.call_after_refresh(self._begin_reading)

    def _begin_reading(self) -> None:
        """Start threads after the first paint, which then does not wait for their imports."""
        self._feed.in_view = self.run_list.table.in_view
        start_feeder(self.app, self._feed.run)
        start_feeder(self.app, self._machine.run)
        start_feeder(self.app, _wake_keeper)

    def on_unmount(self) -> None:
        self._feed.end()
        self._machine.end()

    def on_screen_suspend(self) -> None:
        self._feed.is_paused = self._machine.is_paused = True
        self.query_one(RunBeside).is_watching = False

    def on_screen_resume(self) -> None:
        self._feed.is_paused = self._machine.is_paused = False
        self._feed.wake()
        self._show_beside()

    def on_resize(self) -> None:
        self._show_beside()

    def on_runs_listed(self, message: RunsListed) -> None:
        self.folders = message.folders

    def on_summaries_read(self, message: SummariesRead) -> None:
        self.summaries = message.summaries

    def on_run_ended(self, message: RunEnded) -> None:
        self.tuner.tell_end(message.folder)

    def on_machine_read(self, message: MachineRead) -> None:
        self.machine = message.machine

    def watch_folders(self) -> None:
        if self.is_mounted:
            self._show_list_or_ways()

    def watch_summaries(self) -> None:
        if self.is_mounted:
            self._tell()

    def _show_list_or_ways(self) -> None:
        """Show the runs, or, without any run, the ways to start."""
        has_runs = bool(self.folders)
        ways = self.query_one(BeginPanel)
        self.query_one("#runs-and-run").display, ways.display = has_runs, not has_runs
        if self.focused is None or not self.focused.display or not has_runs:
            self.set_focus(self.run_list.table if has_runs else ways)
        self._show_beside()
        self._tell()

    def _show_beside(self) -> None:
        """The chosen run beside the list where there is room, else in a line below it."""
        width, height = self.size
        is_beside = bool(self.folders) and width >= BESIDE_WIDTH and height >= BESIDE_HEIGHT
        beside = self.query_one(RunBeside)
        beside.display = beside.is_watching = is_beside
        self.query_one("#about").display = bool(self.folders) and not is_beside

    def _tell(self) -> None:
        """Update title, command and keys."""
        live = sum(known.is_live for known in self.summaries.values())
        count = self.run_list.count_words
        self.query_one(TitleBar).state = f"{count}, {live} live" if live else count
        chosen, summary = self.chosen_run, self.chosen_summary
        beside = self.query_one(RunBeside)
        beside.folder, beside.summary = chosen, summary
        show(self.query_one("#about", Static), literal(about_words(summary)))
        self.refresh_command()
        offered = (
            summary and (summary.status, summary.can_resume),
            bool(self.folders),
            bool(self.run_list.sought),
        )
        if offered != self._offered:  # each footer change rebuilds many widgets
            self._offered = offered
            self.refresh_bindings()

    @on(RunsTable.Moved)
    def follow_cursor(self) -> None:
        self._feed.in_view = self.run_list.table.in_view
        self._feed.wake()
        self._tell()

    @on(RunsTable.Opened)
    def open_run(self, event: RunsTable.Opened) -> None:
        self.tuner.open_monitor(event.folder)

    @on(BeginPanel.Chosen)
    async def begin(self, event: BeginPanel.Chosen) -> None:
        await self.run_action(event.action)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys available for the selected run."""
        match action:
            case "demo":
                return not self.folders
            case "filter":
                return bool(self.folders) and not (self.is_mounted and self.run_list.is_filtering)
            case "same_again" | "sort" | "runs":
                return bool(self.folders)
            case "clear_filter":
                return self.is_mounted and bool(self.run_list.sought)
        return self.allows(action)

    def action_new_run(self) -> None:
        self.tuner.open_new_run()

    def action_demo(self) -> None:
        self.tuner.action_demo()

    def action_doctor(self) -> None:
        self.tuner.action_doctor()

    def action_runs(self) -> None:
        self.tuner.action_runs()

    def action_queue(self) -> None:
        self.tuner.action_queue()

    def action_settings(self) -> None:
        self.tuner.action_settings()

    def on_action_done(self, message: ActionDone) -> None:
        self._feed.wake()

    async def action_filter(self) -> None:
        """The filter above the list."""
        await self.run_list.open_filter()

    def action_clear_filter(self) -> None:
        self.run_list.close_filter()

    def action_sort(self) -> None:
        """By the next column."""
        self.run_list.turn_order()


def _wake_keeper() -> None:
    """In a thread: resume the queue after a reboot or a crashed keeper."""
    from tuner_tui.keeper.start import wake

    wake()

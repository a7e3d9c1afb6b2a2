"""Home: this machine, its problems, and all runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.config import paths
from tuner_tui.runs.folder import list_runs, unlisted_runs
from tuner_tui.text import counted, shell_command
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.runs_feed import RunEnded, RunsFeed, RunsListed, SummariesRead
from tuner_tui.ui.screens.base import ActionDone, TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.begin_panel import BeginPanel
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.runs_table import RunsHeading, RunsTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textual.app import ComposeResult
    from textual.widgets import Input

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary
    from tuner_tui.ui.hardware_words import Machine

MACHINE_EVERY_SECONDS = 3.0
DOORS = "a Chat  f Feedback  m Runs  w Queue  h Downloads  o Settings  d Doctor  ^p All"
"""Where to go from here; the footer has what can be done with a run."""
SORTED_BY: dict[str, Callable[[RunSummary], float | str | None]] = {
    "loss": lambda summary: summary.loss,
    "model": lambda summary: summary.model,
    "status": lambda summary: summary.status,
}
"""The columns by which runs can be sorted, and the value of each."""


class MachineRead(Message):
    """The hardware was read."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, MachineRead)


class SettingsLookedAt(Message):
    """The settings were read; `problem` is empty when they are valid."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


class Home(TunerScreen):
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
            tooltip="Show only runs whose line contains a text",
        ),
        Binding("escape", "clear_filter", "All runs", key_display="esc"),
        Binding(
            "S", "sort", "Sort", show=False, tooltip="Sort by loss, model or status, or the newest first"
        ),
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
    summaries: var[Mapping[str, RunSummary]] = var({}, always_update=True)
    machine: var[Machine | None] = var(None)
    sought: var[str] = var("")
    order: var[str] = var("")
    """The column by which runs are sorted; empty for the newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.set_reactive(Home.folders, tuple(list_runs()))
        self._feed = RunsFeed(self.post_message, self.folders)
        self._has_left = threading.Event()
        self._offered: tuple[object, ...] = ()

    @property
    def headless_command(self) -> str:
        chosen = self._table.chosen if self.is_mounted and self.folders else None
        return shell_command("runs show", chosen.name) if chosen else "tuner-tui demo"

    def compose_body(self) -> ComposeResult:
        table = RunsTable()
        table.set_reactive(RunsTable.folders, self.folders)
        with Vertical(id="machine"):
            yield Static("Reading this machine's hardware ...", id="hardware", markup=False)
            yield Static("", id="banner", markup=False)
        yield RunsHeading()
        yield table
        yield BeginPanel()
        yield Static(DOORS, id="doors", markup=False)

    def on_mount(self) -> None:
        self._show_list_or_ways()
        if not self.folders and (problem := unlisted_runs()) is not None:
            self.notify(str(problem), severity="error", timeout=30, markup=False)
        self.call_after_refresh(self._begin_reading)

    def _begin_reading(self) -> None:
        """Start threads after the first paint, which then does not wait for their imports."""
        self._feed.in_view = self._table.in_view
        start_feeder(self.app, self._feed.run)
        start_feeder(self.app, self._look_at_machine)
        start_feeder(self.app, _wake_keeper)

    def on_unmount(self) -> None:
        self._feed.end()
        self._has_left.set()

    def on_screen_suspend(self) -> None:
        self._feed.is_paused = True

    def on_screen_resume(self) -> None:
        self._feed.is_paused = False
        self._feed.wake()

    def _look_at_machine(self) -> None:
        """In a thread: read the hardware every few seconds while this screen is shown."""
        from tuner_tui.hardware.gpu import GpuReader
        from tuner_tui.hardware.system import SystemReader
        from tuner_tui.ui.hardware_words import read_machine, read_troubles, settings_trouble

        system = SystemReader()
        with GpuReader() as gpus:
            self.post_message(MachineRead(read_machine(gpus, system, settings_trouble())))
            troubles = read_troubles(gpus, paths.data_dir())
            while not self._has_left.is_set():
                of_settings = settings_trouble()
                self.app.post_message(SettingsLookedAt(" ".join(of_settings)))
                if not self._feed.is_paused:
                    self.post_message(MachineRead(read_machine(gpus, system, (*of_settings, *troubles))))
                self._has_left.wait(MACHINE_EVERY_SECONDS)

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

    def watch_summaries(self, summaries: Mapping[str, RunSummary]) -> None:
        if not self.is_mounted:
            return
        self._table.summaries = summaries
        if self.sought or self.order:
            self._show_list_or_ways()
        self._tell()

    def watch_order(self) -> None:
        if self.is_mounted:
            self.query_one(RunsHeading).order = self.order
            self._show_list_or_ways()

    def action_sort(self) -> None:
        """By the next column."""
        orders = ("", *SORTED_BY)
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]

    def watch_sought(self) -> None:
        if self.is_mounted:
            self._show_list_or_ways()

    def watch_machine(self, machine: Machine | None) -> None:
        if machine is None:
            return
        self.query_one("#hardware", Static).update(literal(machine.line))
        banner = self.query_one("#banner", Static)
        banner.display = bool(machine.troubles)
        if machine.troubles:
            more = f" (and {len(machine.troubles) - 1} more)" if len(machine.troubles) > 1 else ""
            banner.update(literal(f"! {machine.troubles[0].rstrip('.')}{more}. d shows how to fix it."))

    def _show_list_or_ways(self) -> None:
        """Show the filtered runs, or, without any run, the ways to start."""
        has_runs = bool(self.folders)
        table, ways = self._table, self.query_one(BeginPanel)
        table.folders = self._sorted(tuple(filter(self._is_sought, self.folders)))
        table.display, ways.display = has_runs, not has_runs
        self.query_one(RunsHeading).display = has_runs
        if self.focused is None or not self.focused.display:
            self.set_focus(table if has_runs else ways)
        self._tell()

    def _is_sought(self, folder: RunFolder) -> bool:
        """Whether a run's line has what is typed, in any of its columns."""
        word = self.sought.lower()
        known = self.summaries.get(folder.name)
        shown = (known.status, known.model or "", known.failure, known.problem) if known else ()
        return word in " ".join((folder.name, *shown)).lower()

    def _sorted(self, folders: tuple[RunFolder, ...]) -> tuple[RunFolder, ...]:
        """By the chosen column; runs without a value there come last, and the newest first among equals."""
        if not self.order:
            return folders

        def rank(folder: RunFolder) -> tuple[bool, float | str]:
            known = self.summaries.get(folder.name)
            value = None if known is None else SORTED_BY[self.order](known)
            return value is None, "" if value is None else value

        return tuple(sorted(folders, key=rank))

    def _tell(self) -> None:
        """Update title, command and keys."""
        shown, live = len(self._table.folders), sum(known.is_live for known in self.summaries.values())
        count = f"{shown} of {len(self.folders)} runs" if self.sought else f"{counted(shown, 'run')}"
        self.query_one(TitleBar).state = f"{count}, {live} live" if live else count
        self.refresh_command()
        summary = self._table.chosen_summary
        offered = (summary and (summary.is_live, summary.can_resume), bool(self.folders), bool(self.sought))
        if offered != self._offered:  # each footer change rebuilds many widgets
            self._offered = offered
            self.refresh_bindings()

    @property
    def _table(self) -> RunsTable:
        return self.query_one(RunsTable)

    @on(RunsTable.Moved)
    def follow_cursor(self) -> None:
        self._feed.in_view = self._table.in_view
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
        summary = self._table.chosen_summary if self.is_mounted else None
        match action:
            case "demo":
                return not self.folders
            case "filter":
                return bool(self.folders) and not self.query("#filter:focus")
            case "same_again" | "sort":
                return bool(self.folders)
            case "share":
                return summary is not None and not summary.is_live
            case "resume":
                return summary is not None and summary.can_resume
            case "pause":
                return summary is not None and summary.status == "running"
            case "stop":
                return summary is not None and summary.is_live
            case "runs":
                return bool(self.folders)
            case "delete":
                return summary is not None and not summary.is_live
            case "clear_filter":
                return bool(self.sought)
        return True

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

    def action_same_again(self) -> None:
        from tuner_tui.ui.run_actions import spec_of

        folder = self._table.chosen
        if folder is not None:
            self.open_same_again(lambda: spec_of(folder))

    def action_share(self) -> None:
        folder = self._table.chosen
        if folder is not None:
            self.tuner.open_share(folder)

    def action_resume(self) -> None:
        from tuner_tui.ui.run_actions import resume_run

        folder = self._table.chosen
        if folder is not None:
            self.perform(lambda: resume_run(folder))

    def action_pause(self) -> None:
        from tuner_tui.ui.run_actions import pause_run

        folder = self._table.chosen
        if folder is not None:
            self.perform(lambda: pause_run(folder))

    @work
    async def action_stop(self) -> None:
        from tuner_tui.ui.modals.stop_run import StopModal
        from tuner_tui.ui.run_actions import end_run_now, stop_run

        folder = self._table.chosen
        way = await self.app.push_screen_wait(StopModal(folder)) if folder is not None else None
        if folder is not None and way is not None:
            self.perform(lambda: (stop_run if way == "save" else end_run_now)(folder))

    @work
    async def action_delete(self) -> None:
        from tuner_tui.ui.modals.run_questions import asks_to_delete
        from tuner_tui.ui.run_actions import delete_run

        folder = self._table.chosen
        if folder is not None and await self.ask(await asks_to_delete(folder)):
            self.perform(lambda: delete_run(folder))

    def on_action_done(self, message: ActionDone) -> None:
        self._feed.wake()

    async def action_filter(self) -> None:
        """The filter input above the list."""
        from textual.widgets import Input

        if not self.query(Input):
            line = Input(
                placeholder="part of a run's name, model, status or problem", id="filter", compact=True
            )
            await self.mount(line, before=self._table)
        self.set_focus(self.query_one(Input))  # at once, so that keys typed ahead go to it

    def action_clear_filter(self) -> None:
        self.query("#filter").remove()
        self.sought = ""
        self.set_focus(self._table)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.sought = event.value.strip()

    def on_input_submitted(self) -> None:
        self.set_focus(self._table)


def _wake_keeper() -> None:
    """In a thread: resume the queue after a reboot or a crashed keeper."""
    from tuner_tui.keeper.start import wake

    wake()

"""Runs: compare runs, show lineage, edit notes, start from checkpoints, and clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.notes import Note
from tuner_tui.text import shell_command
from tuner_tui.ui.compare_feed import PARTS, CompareFeed, Looked, LookedAt, Wanted
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.runs_feed import RunsFeed, RunsListed, SummariesRead
from tuner_tui.ui.screens.base import ActionDone
from tuner_tui.ui.screens.run_keys import RunKeys
from tuner_tui.ui.screens.trash_keys import TrashKeys
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.comparison_table import comparison_content
from tuner_tui.ui.widgets.curves_chart import CurvesChart
from tuner_tui.ui.widgets.literal import show
from tuner_tui.ui.widgets.run_list import RunList
from tuner_tui.ui.widgets.run_parts import DiskPart, LineagePart, NotePart
from tuner_tui.ui.widgets.runs_table import Mark, RunsTable
from tuner_tui.ui.widgets.tab_line import TabLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from tuner_tui.runs.trash import Deletion

NAMES = ("Curves", "Settings", "Lineage", "Note", "Disk")
COLOURS = ("primary", "accent", "success", "error", "warning", "secondary")
"""One for each marked run, beside its letter."""


class RunsScreen(RunKeys, TrashKeys):
    """A list in which to mark runs, and one part at a time about the marked or selected runs."""

    TITLE_WORDS = "Runs"
    HELP_TEXT = (
        "Space marks runs, at most six; the parts below compare them, or show the selected run alone. In Lineage, "
        "Enter on a checkpoint starts a new run from it. In Disk, Enter moves an entry to the trash, which keeps it "
        "for 30 days: u restores what was deleted last, E empties the trash."
    )
    CSS_PATH = "runs.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding(
            "escape", "back", "Back", key_display="esc", tooltip="All runs, then back to where you came from"
        ),
        Binding("space", "mark", "Mark", tooltip="Mark this run for comparison, or unmark it"),
        *(
            Binding(str(number), f"show({number - 1})", name, show=False, tooltip=f"The part {name}")
            for number, name in enumerate(NAMES, 1)
        ),
        Binding("tab", "turn", "Next part", show=False, priority=True),
        Binding("X", "axis", "Axis", tooltip="X axis: steps, tokens or time"),
        Binding("Y", "measure", "Curve", show=False, tooltip="Y axis: loss, learning rate, gradient norm"),
        Binding("ctrl+e", "note", "Edit note", tooltip="Edit the note and tags"),
        Binding("e", "share", "Share", show=False, tooltip="Export the result, or push it to the Hub"),
        Binding("N", "same_again", "Again", show=False, tooltip="New run from this run's settings"),
        Binding("S", "sort", "Sort", show=False, tooltip="Sort by another column, or the newest first"),
        Binding("b", "branch", "Branch", tooltip="New run from this run's last checkpoint"),
        Binding("delete,D", "delete", "Delete", key_display="del", tooltip="Move the run to the trash"),
        Binding("u", "undo", "Undo", show=False, tooltip="Restore what was deleted last"),
        Binding(
            "E", "empty", "Empty trash", show=False, tooltip="Delete everything in the trash permanently, now"
        ),
        Binding(
            "slash",
            "filter",
            "Filter",
            key_display="/",
            priority=True,
            tooltip="Show only runs with this text in their line or note; #word is a tag",
        ),
    ]

    folders: var[tuple[RunFolder, ...]] = var(())
    marks: var[Mapping[str, Mark]] = var({})
    part: var[int] = var(0)

    def __init__(self) -> None:
        super().__init__()
        self.set_reactive(RunsScreen.folders, tuple(list_runs()))
        self._feed = RunsFeed(self.post_message, self.folders)
        self._looking = CompareFeed(self.post_message)
        self._looked: Looked | None = None
        self.in_trash: tuple[Deletion, ...] = ()
        self._offered: tuple[object, ...] = ()

    @property
    def headless_command(self) -> str:
        names = [folder.name for folder in self._compared()]
        if self.part == PARTS.index("disk"):
            return "tuner-tui runs disk"
        if len(names) > 1:
            return shell_command("runs compare", *names)
        if not names:
            return "tuner-tui runs list"
        word = {"family": "tree", "note": "note"}.get(PARTS[self.part], "show")
        return shell_command(f"runs {word}", names[0])

    def compose_body(self) -> ComposeResult:
        with Container(id="runs-body"):
            yield RunList(self.folders, id="runs-list").data_bind(RunsScreen.folders, RunsScreen.summaries)
            with Vertical(id="runs-shown"):
                yield TabLine(NAMES).data_bind(shown=RunsScreen.part)
                with Container(id="runs-parts"):
                    yield CurvesChart().add_class("part")
                    with VerticalScroll(id="runs-settings", classes="part"):
                        yield Static("", id="settings-table", markup=False)
                    yield LineagePart(id="runs-family", classes="part")
                    yield NotePart(id="runs-note", classes="part")
                    yield DiskPart(id="runs-disk", classes="part")

    def on_mount(self) -> None:
        self.run_list.table.focus()
        self._turn_to_part()
        self._tell()
        start_feeder(self.app, self._feed.run)
        start_feeder(self.app, self._looking.run)

    def on_unmount(self) -> None:
        self._feed.end()
        self._looking.end()

    def on_screen_suspend(self) -> None:
        self._feed.is_paused = self._looking.is_paused = True

    def on_screen_resume(self) -> None:
        self._feed.is_paused = self._looking.is_paused = False
        self._feed.wake()
        self._looking.look_again()

    # Messages

    def on_runs_listed(self, message: RunsListed) -> None:
        self.folders = message.folders

    def on_summaries_read(self, message: SummariesRead) -> None:
        self.summaries = message.summaries

    def on_looked_at(self, message: LookedAt) -> None:
        looked = message.looked
        self.run_list.notes = looked.notes
        if looked.trash != self.in_trash:
            self.in_trash = looked.trash
            self.refresh_bindings()
        if looked.wanted == self._wanted():
            self._looked = looked
            self._show_part(looked)

    def watch_folders(self) -> None:
        if not self.is_mounted:
            return
        names = {folder.name for folder in self.folders}
        if not set(self.marks) <= names:
            self.marks = {name: mark for name, mark in self.marks.items() if name in names}
        self._tell()

    def watch_summaries(self) -> None:
        if self.is_mounted:
            self._offer()

    def watch_marks(self, marks: Mapping[str, Mark]) -> None:
        if self.is_mounted:
            self.run_list.table.marks = marks
            self.query_one(CurvesChart).marks = marks
            self._want()

    def watch_part(self) -> None:
        if self.is_mounted:
            self._turn_to_part()

    def _turn_to_part(self) -> None:
        for index, name in enumerate(PARTS):
            self.set_class(index == self.part, f"-{name}")
        self._focus_part()
        self.refresh_bindings()
        self._want()

    @on(RunsTable.Moved)
    def follow_cursor(self) -> None:
        self._feed.in_view = self.run_list.table.in_view
        self._feed.wake()
        self._tell()
        self._offer()

    def on_resize(self) -> None:
        if self._looked is not None:
            self.call_after_refresh(self._show_part, self._looked)

    # Display

    def _compared(self) -> tuple[RunFolder, ...]:
        """The marked runs in the order of their letters, or the selected one."""
        by_name = {folder.name: folder for folder in self.folders}
        marked = tuple(by_name[name] for name in self.marks if name in by_name)
        chosen = self.chosen_run
        return marked or ((chosen,) if chosen is not None else ())

    def _wanted(self) -> Wanted:
        part = PARTS[self.part]
        if part in ("curves", "settings"):
            return Wanted(part, compared=self._compared())
        return Wanted(part, self.chosen_run, folders=self.folders if part == "family" else ())

    def _want(self) -> None:
        self._looking.want(self._wanted())
        self.refresh_command()

    def _tell(self) -> None:
        """Update the title, the command and what is read."""
        marked = f", {len(self.marks)} marked" if self.marks else ""
        self.query_one(TitleBar).state = self.run_list.count_words + marked
        self._want()

    def _offer(self) -> None:
        """Update the keys where the chosen run allows others: each change of the footer rebuilds many widgets."""
        known = self.chosen_summary
        offered = (self.chosen_run is None, known and known.status)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _show_part(self, looked: Looked) -> None:
        match looked.wanted.part:
            case "curves":
                chart = self.query_one(CurvesChart)
                chart.marks = self.marks
                chart.compared = looked.compared
            case "settings":
                width = max(40, self.query_one("#runs-parts").size.width - 4)
                table = comparison_content(looked.compared, self.marks, width)
                show(self.query_one("#settings-table", Static), table)
            case "family":
                self.query_one(LineagePart).show(looked)
            case "note":
                chosen = self.chosen_run
                self.query_one(NotePart).show(looked.notes.get(chosen.name, Note()) if chosen else Note())
            case "disk":
                self.query_one(DiskPart).show(looked)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that are not available."""
        chosen = self.chosen_run
        is_filtering = self.is_mounted and self.run_list.is_filtering
        match action:
            case "filter":
                return not is_filtering
            case "mark" | "note" | "branch" | "same_again":
                return chosen is not None and not is_filtering
            case "axis" | "measure":
                return PARTS[self.part] == "curves"
            case "undo" | "empty":
                return bool(self.in_trash)
        return self.allows(action)

    def action_back(self) -> None:
        """Close a part's list, then the filter, then the screen."""
        if self.focused is not self.run_list.table:
            self.run_list.table.focus()
        if self.run_list.close_filter():
            return
        if PARTS[self.part] in ("family", "disk") and self.marks == {}:
            self.part = 0
        else:
            self.app.pop_screen()

    def action_mark(self) -> None:
        chosen = self.chosen_run
        if chosen is None:
            return
        if chosen.name in self.marks:
            self.marks = {name: mark for name, mark in self.marks.items() if name != chosen.name}
        elif len(self.marks) == len(COLOURS):
            self.notify(f"A chart shows at most {len(COLOURS)} runs.", severity="warning")
        else:
            taken = {letter for letter, _ in self.marks.values()}
            index = next(number for number in range(len(COLOURS)) if chr(65 + number) not in taken)
            self.marks = {**self.marks, chosen.name: (chr(65 + index), COLOURS[index])}
        self._tell()

    def action_show(self, index: int) -> None:
        self.part = index

    def action_turn(self) -> None:
        self.part = (self.part + 1) % len(PARTS)

    @on(TabLine.Chosen)
    def choose_part(self, event: TabLine.Chosen) -> None:
        self.part = event.index

    def _focus_part(self) -> None:
        """Only the list of Disk does not depend on the selected run."""
        is_disk = PARTS[self.part] == "disk"
        self.set_focus(self.query_one("#disk-list") if is_disk else self.run_list.table)

    def action_axis(self) -> None:
        self.query_one(CurvesChart).turn_axis()

    def action_measure(self) -> None:
        self.query_one(CurvesChart).turn_measure()

    @on(RunsTable.Opened)
    def open_run(self, event: RunsTable.Opened) -> None:
        """Enter on the list: open the run, or in Lineage go to its checkpoints."""
        if PARTS[self.part] == "family":
            self.query_one("#family-list").focus()
        else:
            self.tuner.open_monitor(event.folder)

    @on(LineagePart.CheckpointTaken)
    def take_checkpoint(self, event: LineagePart.CheckpointTaken) -> None:
        self._branch(event.name)

    @on(LineagePart.RelativeTaken)
    def take_relative(self, event: LineagePart.RelativeTaken) -> None:
        if event.name in (names := [folder.name for folder in self.run_list.table.folders]):
            self.run_list.table.cursor = names.index(event.name)
            self.run_list.table.focus()

    def action_branch(self) -> None:
        self._branch("last")

    def _branch(self, step: str) -> None:
        from tuner_tui.runs.family import branch_spec, find_checkpoint

        folder = self.chosen_run
        if folder is not None:
            from tuner_tui.config.spec_writer import spec_text

            def read() -> tuple[object, str]:
                spec = branch_spec(folder, find_checkpoint(folder, step))
                return spec, spec_text(spec)

            self.open_same_again(read)  # type: ignore[arg-type]

    @work
    async def action_note(self) -> None:
        from tuner_tui.runs.notes import read_note
        from tuner_tui.ui.modals.edit_note import EditNote
        from tuner_tui.ui.run_actions import keep_note

        folder = self.chosen_run
        if folder is None:
            return
        from tuner_tui.errors import TunerError

        try:
            known = read_note(folder.name)
        except TunerError as error:
            self.show_error(error)
            return
        note = await self.app.push_screen_wait(EditNote(folder.name, known))
        if note is not None:
            self.perform(lambda: keep_note(folder, note))
            self.part = PARTS.index("note")

    def on_action_done(self, message: ActionDone) -> None:
        self._feed.wake()
        self._looking.look_again()
        self.refresh_bindings()

    async def action_filter(self) -> None:
        """The filter above the list."""
        await self.run_list.open_filter()

    def action_sort(self) -> None:
        """By the next column."""
        self.run_list.turn_order()

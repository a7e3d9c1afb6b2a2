"""Runs: compare runs, show lineage, edit notes, start from checkpoints, and clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.reactive import var
from textual.widgets import Input, OptionList, Static

from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.notes import Note, fits
from tuner_tui.text import counted, shell_command, size
from tuner_tui.ui.compare_feed import PARTS, CompareFeed, Looked, LookedAt, Wanted
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.runs_feed import RunsFeed, RunsListed, SummariesRead
from tuner_tui.ui.screens.base import ActionDone, TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.comparison_table import comparison_content
from tuner_tui.ui.widgets.curves_chart import CurvesChart
from tuner_tui.ui.widgets.literal import literal, literal_lines, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow
from tuner_tui.ui.widgets.runs_table import Mark, RunsTable
from tuner_tui.ui.widgets.tab_line import TabLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from tuner_tui.runs.disk import CleanUpItem
    from tuner_tui.runs.summary import RunSummary
    from tuner_tui.runs.trash import Deletion

NAMES = ("Curves", "Settings", "Lineage", "Note", "Disk")
COLOURS = ("primary", "accent", "success", "error", "warning", "secondary")
"""One for each marked run, beside its letter."""
MOST_NAMES = 10
"""How many names a question lists."""


class RunsScreen(TunerScreen):
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
        Binding("h", "measure", "Held out", show=False, tooltip="Training loss, or held-out loss"),
        Binding("e", "note", "Edit note", tooltip="Edit the note and tags"),
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
            show=False,
            key_display="/",
            priority=True,
            tooltip="Show only runs with this text in name, status or note; #word is a tag",
        ),
    ]

    folders: var[tuple[RunFolder, ...]] = var(())
    summaries: var[Mapping[str, RunSummary]] = var({}, always_update=True)
    marks: var[Mapping[str, Mark]] = var({})
    sought: var[str] = var("")
    part: var[int] = var(0)

    def __init__(self) -> None:
        super().__init__()
        self.set_reactive(RunsScreen.folders, tuple(list_runs()))
        self._feed = RunsFeed(self.post_message, self.folders)
        self._looking = CompareFeed(self.post_message)
        self._notes: Mapping[str, Note] = {}
        self._looked: Looked | None = None
        self._trash: tuple[Deletion, ...] = ()

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
        table = RunsTable(id="runs-list")
        table.set_reactive(RunsTable.folders, self.folders)
        with Container(id="runs-body"):
            yield table
            with Vertical(id="runs-shown"):
                yield TabLine(NAMES).data_bind(shown=RunsScreen.part)
                with Container(id="runs-parts"):
                    yield CurvesChart().add_class("part")
                    with VerticalScroll(id="runs-settings", classes="part"):
                        yield Static("", id="settings-table", markup=False)
                    with Vertical(id="runs-family", classes="part"):
                        yield Static("", id="family-words", markup=False)
                        yield PickList(
                            id="family-list",
                            help_text="The lineage of the selected run, and its checkpoints.",
                        )
                    with VerticalScroll(id="runs-note", classes="part"):
                        yield Static("", id="note-text", markup=False)
                    with Vertical(id="runs-disk", classes="part"):
                        yield Static("", id="disk-words", markup=False)
                        yield PickList(
                            id="disk-list",
                            help_text="What can be removed. Enter asks, then moves it to the trash.",
                        )

    def on_mount(self) -> None:
        self._table.focus()
        self._turn_to_part()
        self._narrow()
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
        if looked.notes != self._notes:
            self._notes = looked.notes
            self._narrow()
        if looked.trash != self._trash:
            self._trash = looked.trash
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
        self._narrow()

    def watch_summaries(self, summaries: Mapping[str, RunSummary]) -> None:
        if self.is_mounted:
            self._table.summaries = summaries
            if self.sought:
                self._narrow()

    def watch_sought(self) -> None:
        if self.is_mounted:
            self._narrow()

    def watch_marks(self, marks: Mapping[str, Mark]) -> None:
        if self.is_mounted:
            self._table.marks = marks
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
        self._feed.in_view = self._table.in_view
        self._feed.wake()
        self._want()
        self.refresh_bindings()

    def on_resize(self) -> None:
        if self._looked is not None:
            self.call_after_refresh(self._show_part, self._looked)

    # Display

    @property
    def _table(self) -> RunsTable:
        return self.query_one(RunsTable)

    def _chosen(self) -> RunFolder | None:
        return self._table.chosen if self.is_mounted else None

    def _compared(self) -> tuple[RunFolder, ...]:
        """The marked runs in the order of their letters, or the selected one."""
        by_name = {folder.name: folder for folder in self.folders}
        marked = tuple(by_name[name] for name in self.marks if name in by_name)
        chosen = self._chosen()
        return marked or ((chosen,) if chosen is not None else ())

    def _wanted(self) -> Wanted:
        part = PARTS[self.part]
        if part in ("curves", "settings"):
            return Wanted(part, compared=self._compared())
        return Wanted(part, self._chosen(), folders=self.folders if part == "family" else ())

    def _want(self) -> None:
        self._looking.want(self._wanted())
        self.refresh_command()

    def _narrow(self) -> None:
        """Show the filtered runs."""
        words = self.sought.lower().split()
        self._table.folders = tuple(
            folder
            for folder in self.folders
            if fits(
                words,
                folder.name,
                known.status if (known := self.summaries.get(folder.name)) else "",
                self._notes.get(folder.name, Note()),
            )
        )
        shown, total = len(self._table.folders), len(self.folders)
        marked = f", {len(self.marks)} marked" if self.marks else ""
        count = f"{shown} of {total} runs" if self.sought else f"{counted(total, 'run')}"
        self.query_one(TitleBar).state = count + marked
        self._want()

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
                self._show_family(looked)
            case "note":
                self._show_note()
            case "disk":
                self._show_disk(looked)

    def _show_family(self, looked: Looked) -> None:
        chosen = looked.wanted.chosen
        rows = [
            PickRow(f"run:{member.name}", f"{'  ' * member.depth}{member.name}", (member.words,))
            for member in looked.family
        ]
        rows += [
            PickRow(f"checkpoint:{path.name}", f"  {path.name}", ("Enter starts a new run from here",))
            for path in reversed(looked.checkpoints)
        ]
        count = len(looked.checkpoints)
        words = f"{counted(count, 'checkpoint')} below" if count else "No checkpoints."
        alone = (
            "It started from the base model, and no run started from it. " if len(looked.family) < 2 else ""
        )
        show(self.query_one("#family-words", Static), literal(alone + words, "$faint"))
        key = f"run:{chosen.name}" if chosen else None
        self.query_one("#family-list", PickList).show(tuple(rows), key)

    def _show_note(self) -> None:
        chosen = self._chosen()
        note = self._notes.get(chosen.name, Note()) if chosen else Note()
        tags = " ".join(f"#{tag}" for tag in note.tags)
        text = "\n".join(part for part in (tags, note.text) if part)
        content = literal_lines(text) if text else literal("No note yet; e writes one.", "$faint")
        show(self.query_one("#note-text", Static), content)

    def _show_disk(self, looked: Looked) -> None:
        disk = looked.disk
        lines = []
        if disk is not None:
            lines.append(
                f"This run: {size(disk.total)}, including {counted(disk.checkpoint_count, 'checkpoint')} "
                f"{size(disk.checkpoints)}, adapter {size(disk.adapter)}"
            )
        could = sum(item.size_bytes for item in looked.items)
        lines.append(f"Removable: {size(could)}" if looked.items else "Nothing else is removable.")
        if looked.trash:
            lines.append(f"In the trash: {_trash_size(looked.trash)}; u restores the last, E empties it.")
        show(self.query_one("#disk-words", Static), literal_lines("\n".join(lines)))
        rows = tuple(
            PickRow(
                f"{item.kind}:{item.name}",
                f"{size(item.size_bytes):>9}  {item.name}",
                (item.kind, item.loses),
            )
            for item in looked.items
        )
        self.query_one("#disk-list", PickList).show(rows)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that are not available."""
        chosen = self._chosen()
        is_filtering = bool(self.query("#runs-filter:focus")) if self.is_mounted else False
        match action:
            case "filter":
                return not is_filtering
            case "mark" | "note" | "branch":
                return chosen is not None and not is_filtering
            case "axis" | "measure":
                return PARTS[self.part] == "curves"
            case "delete":
                known = self.summaries.get(chosen.name) if chosen else None
                return known is not None and not known.is_live
            case "undo" | "empty":
                return bool(self._trash)
        return True

    def action_back(self) -> None:
        """Close a part's list, then the filter, then the screen."""
        if self.focused is not self._table:
            self._table.focus()
        if self.query("#runs-filter"):
            self.query("#runs-filter").remove()
            self.sought = ""
        elif PARTS[self.part] in ("family", "disk") and self.marks == {}:
            self.part = 0
        else:
            self.app.pop_screen()

    def action_mark(self) -> None:
        chosen = self._chosen()
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
        self._narrow()

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
        self.set_focus(self.query_one("#disk-list") if is_disk else self._table)

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

    @on(OptionList.OptionSelected, "#family-list")
    def take_relative(self, event: OptionList.OptionSelected) -> None:
        kind, _, name = (event.option_id or "").partition(":")
        if kind == "checkpoint":
            self._branch(name)
        elif name in (names := [folder.name for folder in self._table.folders]):
            self._table.cursor = names.index(name)
            self._table.focus()

    def action_branch(self) -> None:
        self._branch("last")

    def _branch(self, step: str) -> None:
        from tuner_tui.runs.family import branch_spec, find_checkpoint

        folder = self._chosen()
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

        folder = self._chosen()
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

    @work
    async def action_delete(self) -> None:
        from tuner_tui.ui.modals.run_questions import asks_to_delete
        from tuner_tui.ui.run_actions import delete_run

        folder = self._chosen()
        if folder is not None and await self.ask(await asks_to_delete(folder)):
            self.perform(lambda: delete_run(folder))

    @on(OptionList.OptionSelected, "#disk-list")
    def take_item(self, event: OptionList.OptionSelected) -> None:
        items = self._looked.items if self._looked else ()
        item = next(
            (candidate for candidate in items if f"{candidate.kind}:{candidate.name}" == event.option_id),
            None,
        )
        if item is not None:
            self._throw(item)

    @work
    async def _throw(self, item: CleanUpItem) -> None:
        from tuner_tui.ui.modals.confirm import ConfirmModal
        from tuner_tui.ui.run_actions import throw_item

        if item.can_be_restored:
            freed = f"Frees {size(item.size_bytes)} when the trash is emptied; u restores it until then."
            question, yes = "Move it to the trash?", "Move"
        else:
            freed = f"Frees {size(item.size_bytes)} at once; it cannot be restored."
            question, yes = "Delete it permanently?", "Delete"
        detail = f"{item.name}\n\n{freed}\n{item.loses}"
        if await self.app.push_screen_wait(ConfirmModal(question, detail, yes, "Cancel")):
            self.perform(lambda: throw_item(item))

    def action_undo(self) -> None:
        from tuner_tui.ui.run_actions import undo

        self.perform(undo)

    @work
    async def action_empty(self) -> None:
        from tuner_tui.ui.modals.confirm import ConfirmModal
        from tuner_tui.ui.run_actions import empty_trash

        names = [deletion.name for deletion in self._trash]
        more = f"\nand {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        detail = f"Deletes permanently, {_trash_size(self._trash)}:\n" + "\n".join(names[:MOST_NAMES]) + more
        if await self.app.push_screen_wait(ConfirmModal("Empty the trash?", detail, "Empty it", "Keep it")):
            self.perform(empty_trash)

    def on_action_done(self, message: ActionDone) -> None:
        self._feed.wake()
        self._looking.look_again()
        self.refresh_bindings()

    async def action_filter(self) -> None:
        """The filter input above the list."""
        if not self.query("#runs-filter"):
            line = Input(placeholder="text in name, status or note; #tag", id="runs-filter", compact=True)
            await self.mount(line, before=self.query_one("#runs-body"))
        self.set_focus(self.query_one("#runs-filter"))

    def on_input_changed(self, event: Input.Changed) -> None:
        self.sought = event.value.strip()

    def on_input_submitted(self) -> None:
        self._table.focus()


def _trash_size(trash: tuple[Deletion, ...]) -> str:
    return f"{size(sum(deletion.size_bytes for deletion in trash))} in {counted(len(trash), 'deletion')}"

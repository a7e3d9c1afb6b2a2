"""The parts of the Runs screen about one run: its lineage, its note, and what lies on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static

from tuner_tui.text import counted, size
from tuner_tui.ui.widgets.literal import literal, literal_lines, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from tuner_tui.runs.disk import CleanUpItem
    from tuner_tui.runs.notes import Note
    from tuner_tui.runs.trash import Deletion
    from tuner_tui.ui.compare_feed import Looked


class LineagePart(Vertical):
    """The runs that it started from or that started from it, and its checkpoints."""

    DEFAULT_CSS = "LineagePart #family-words { height: auto; max-height: 4; }"

    class CheckpointTaken(Message):
        """A new run is to start from a checkpoint."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class RelativeTaken(Message):
        """Another run of the lineage is to be selected."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def compose(self) -> ComposeResult:
        yield Static("", id="family-words", markup=False)
        yield PickList(id="family-list", help_text="The lineage of the selected run, and its checkpoints.")

    def show(self, looked: Looked) -> None:
        """Show what was read."""
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
        self.query_one(PickList).show(tuple(rows), f"run:{chosen.name}" if chosen else None)

    @on(OptionList.OptionSelected)
    def take(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        kind, _, name = (event.option_id or "").partition(":")
        is_checkpoint = kind == "checkpoint"
        self.post_message(self.CheckpointTaken(name) if is_checkpoint else self.RelativeTaken(name))


class NotePart(VerticalScroll):
    """The note and the tags of a run."""

    def compose(self) -> ComposeResult:
        yield Static("", id="note-text", markup=False)

    def show(self, note: Note) -> None:
        """Show a note."""
        tags = " ".join(f"#{tag}" for tag in note.tags)
        text = "\n".join(part for part in (tags, note.text) if part)
        content = literal_lines(text) if text else literal("No note yet; ctrl+e writes one.", "$faint")
        show(self.query_one("#note-text", Static), content)


class DiskList(PickList):
    """What can be removed."""

    BINDINGS = [Binding("enter", "select", "Remove", tooltip="Ask, then move this to the trash")]  # noqa: RUF012


class DiskPart(Vertical):
    """What a run takes on the disk, and what can be removed."""

    DEFAULT_CSS = "DiskPart #disk-words { height: auto; max-height: 4; }"

    class Taken(Message):
        """Something is to be removed."""

        def __init__(self, item: CleanUpItem) -> None:
            super().__init__()
            self.item = item

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._items: tuple[CleanUpItem, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static("", id="disk-words", markup=False)
        yield DiskList(
            id="disk-list", help_text="What can be removed. Enter asks, then moves it to the trash."
        )

    def show(self, looked: Looked) -> None:
        """Show what was read."""
        self._items = looked.items
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
            lines.append(f"In the trash: {trash_size(looked.trash)}; u restores the last, E empties it.")
        show(self.query_one("#disk-words", Static), literal_lines("\n".join(lines)))
        rows = tuple(
            PickRow(
                f"{item.kind}:{item.name}",
                f"{size(item.size_bytes):>9}  {item.name}",
                (item.kind, item.loses),
            )
            for item in looked.items
        )
        self.query_one(PickList).show(rows)

    @on(OptionList.OptionSelected)
    def take(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        for item in self._items:
            if f"{item.kind}:{item.name}" == event.option_id:
                self.post_message(self.Taken(item))
                return


def trash_size(trash: Sequence[Deletion]) -> str:
    """How much is in the trash."""
    return f"{size(sum(deletion.size_bytes for deletion in trash))} in {counted(len(trash), 'deletion')}"

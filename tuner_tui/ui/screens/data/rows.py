"""The rows, a page at a time, with search; the selected one is shown in full below the list."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from tuner_tui.data.rows.search import RowFound, find_rows
from tuner_tui.errors import TunerError
from tuner_tui.limited.process import Children
from tuner_tui.ui.screens.new_run.model import SearchInput
from tuner_tui.ui.widgets.literal import literal, literal_lines
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.data.recognition.reading import Reading

PAGE_ROWS = 100
LONGEST_SHOWN = 20_000
"""Characters shown of one text; the rest is counted."""


class RowList(PickList):
    """Rows of the data."""

    BINDINGS = [Binding("enter", "select", "Tokens", tooltip="Show this row as the trainer gets it")]  # noqa: RUF012


class RowSearch(SearchInput):
    """The text that rows are to contain."""

    BINDINGS = [Binding("enter", "submit", "Search", tooltip="Show only rows that contain this text")]  # noqa: RUF012
    help_text = "Enter shows only the rows that contain this text; without text it shows all again."


class RowsPane(Vertical):
    """Reads as far as needed, in a thread."""

    BINDINGS = [  # noqa: RUF012
        Binding("slash", "search", "Search", priority=True, tooltip="Show only rows that contain some text"),
        Binding("right_square_bracket", "page(1)", "More", key_display="]", tooltip="Next 100 rows"),
        Binding("left_square_bracket", "page(-1)", "Before", key_display="[", tooltip="Previous 100 rows"),
    ]

    class Picked(Message):
        """A row's tokens are to be shown."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    class Found(Message):
        """Rows were read, or why they could not be."""

        def __init__(self, rows: list[RowFound], error: TunerError | None) -> None:
            super().__init__()
            self.rows = rows
            self.error = error

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._reading: Reading | None = None
        self._rows: dict[str, RowFound] = {}
        self._begins: list[int] = [0]
        """Where each page up to the shown one begins: after this place."""
        self._is_full = False
        self._cancelled, self._children = threading.Event(), Children()

    def compose(self) -> ComposeResult:
        yield RowSearch(placeholder="text to search for", compact=True)
        yield RowList(id="row-list", help_text="Rows in file order. Enter shows a row's tokens.")
        with VerticalScroll(id="row-whole", can_focus=True):
            yield Static("", id="row-words", markup=False)

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(PickList))

    def on_unmount(self) -> None:
        self._cancelled.set()
        self._children.end()

    def open(self, reading: Reading) -> None:
        """Show a data set from its first row."""
        self._reading = reading
        self._begins = [0]
        self._read()

    def refuse(self, error: TunerError) -> None:
        """The data cannot be read: there are no rows."""
        self._say(literal(f"✗ {error.in_one_line}", "$error"))

    def go_to(self, place: int) -> None:
        """Show the rows from a place on."""
        self.query_one(SearchInput).value = ""
        self._begins = [*self._begins[:1], place - 1] if place > 1 else [0]
        self._read()

    def _read(self) -> None:
        self._cancelled.set()
        self._children.end()
        self._cancelled, self._children = threading.Event(), Children()
        if self._reading is not None:
            words = self.query_one(SearchInput).value
            self._find(self._reading, words, self._begins[-1], self._cancelled, self._children)

    @work(thread=True, group="rows", exit_on_error=False)
    def _find(
        self, reading: Reading, words: str, after: int, cancelled: threading.Event, children: Children
    ) -> None:
        error = None
        rows: list[RowFound] = []
        try:
            rows = children.call(lambda: find_rows(reading, words, after, PAGE_ROWS, cancelled.is_set))
        except TunerError as fault:
            error = fault
        except OSError as fault:
            error = TunerError("The data cannot be read", f"{reading}: {fault.strerror}.")
        if not cancelled.is_set():
            self.post_message(self.Found(rows, error))

    def on_rows_pane_found(self, message: Found) -> None:
        message.stop()
        if not self.query(PickList):  # the screen is gone
            return
        self._rows = {str(row.place): row for row in message.rows}
        self._is_full = len(message.rows) == PAGE_ROWS
        shown = tuple(
            PickRow(
                str(row.place), f"{row.place:>7,}", (f"{'! ' if row.problem else ''}{row.summary[:400]}",)
            )
            for row in message.rows
        )
        self.query_one(PickList).show(shown, shown[0].key if shown else None)
        if message.error is not None:
            error = message.error
            self._say(literal(f"✗ {error.in_one_line}", "$error"))
        elif not shown:
            self._say(literal("No row contains that.", "$faint"))
        else:
            self._show_row()
        self.screen.refresh_bindings()

    @on(OptionList.OptionHighlighted, "#row-list")
    def _show_row(self) -> None:
        row = self._rows.get(self.query_one(PickList).picked_key or "")
        if row is not None:
            self._say(row_words(row))
            self.query_one("#row-whole", VerticalScroll).scroll_home(animate=False)

    @on(OptionList.OptionSelected, "#row-list")
    def pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id:
            self.post_message(self.Picked(int(event.option_id)))

    @on(Input.Submitted, "SearchInput")
    def search(self, event: Input.Submitted) -> None:
        event.stop()
        self._begins = [0]
        self._read()
        self.focus_first()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        is_typing = isinstance(self.screen.focused, Input)
        if action == "page":
            return not is_typing and (self._is_full if parameters == (1,) else len(self._begins) > 1)
        return action != "search" or not is_typing

    def action_search(self) -> None:
        self.screen.set_focus(self.query_one(SearchInput))

    def action_page(self, by: int) -> None:
        if by > 0 and self._rows:
            self._begins.append(max(row.place for row in self._rows.values()))
        elif by < 0 and len(self._begins) > 1:
            self._begins.pop()
        self._read()

    def _say(self, words: Content) -> None:
        self.query_one("#row-words", Static).update(words)


def row_words(row: RowFound) -> Content:
    """One row, as parsed and as stored; control characters are shown as escapes."""
    lines: list[Content] = []
    if row.problem is not None:
        lines.append(literal(f"✗ {row.problem.in_one_line}", "$error"))
    if row.suspicions:
        lines.append(literal(f"! contains {', '.join(row.suspicions)}", "$warning"))
    lines += [_part(name, text) for name, text in row.read_as]
    lines.append(literal(f"as stored, row {row.number:,}", "$faint"))
    lines += [_part(name, text) for name, text in row.kept]
    return Content("\n").join(lines)


def _part(name: str, text: str) -> Content:
    more = f" ... and {len(text) - LONGEST_SHOWN:,} more characters" if len(text) > LONGEST_SHOWN else ""
    return Content.assemble(literal(name, "bold $secondary"), "  ", literal_lines(text[:LONGEST_SHOWN]), more)

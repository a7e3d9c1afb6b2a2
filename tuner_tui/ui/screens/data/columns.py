"""How columns are mapped: the detected mapping with its reason, and editable template lines with a preview."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TextArea

from tuner_tui.data.recognition.formats import Layout
from tuner_tui.data.recognition.mapping import mapping_lines
from tuner_tui.data.recognition.reading import Reading, plain_rows, raw_rows
from tuner_tui.data.rows.search import row_found
from tuner_tui.errors import InputError, TunerError
from tuner_tui.ui.background import in_background
from tuner_tui.ui.screens.data.rows import row_words
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.rows.search import RowFound

TYPING_SECONDS = 0.3


class ColumnsPane(Vertical):
    """ctrl+s applies the lines; ctrl+g restores the detected mapping."""

    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+s", "take", "Apply", priority=True, tooltip="Apply these lines"),
        Binding("ctrl+g", "guess", "Detected", priority=True, tooltip="Restore the detected mapping"),
    ]
    help_text = (
        "One line per part: prompt = {question}\\n{context}. Parts: messages; user and assistant; prompt and "
        "completion; text; chosen and rejected; first, second and verdict = {column} < middle; label; system; tools. "
        "ctrl+s applies them."
    )

    class Mapped(Message):
        """The mapping is changed to these lines; none for the detected mapping."""

        def __init__(self, lines: tuple[str, ...]) -> None:
            super().__init__()
            self.lines = lines

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._reading: Reading | None = None
        self._guess: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static("", id="columns-words", markup=False)
        yield TextArea(id="mapping", soft_wrap=True, tab_behavior="focus")
        with VerticalScroll(id="mapped-row"):
            yield Static("", id="mapped-words", markup=False)

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(TextArea))

    def leave_lines(self) -> None:
        """Leave the lines, where digits are text."""
        self.screen.set_focus(self.query_one("#mapped-row", VerticalScroll))

    def open(self, spec: RunSpec, reading: Reading) -> None:
        """Show how a data set is read."""
        self._reading = reading
        self._begin(spec.data.mapping)

    @work(exclusive=True, group="columns")
    async def _begin(self, mapping: tuple[str, ...]) -> None:
        assert self._reading is not None
        try:
            names, layout = await in_background(_recognised, replace(self._reading, mapping=()))
        except (TunerError, OSError) as error:
            self._say(literal(str(error), "$error"))
            return
        if not self.query(TextArea):  # the screen is gone
            return
        self._guess = mapping_lines(layout.mapping) if layout else ()
        why = f"detected: {layout.shape}, because {layout.reason}" if layout else "no dataset type detected"
        self._say(
            Content("\n").join([literal(f"columns: {', '.join(names)}", "bold"), literal(why, "$secondary")])
        )
        self.query_one(TextArea).text = "\n".join(mapping or self._guess)

    @on(TextArea.Changed)
    def preview(self) -> None:
        self._preview()

    @work(exclusive=True, group="preview")
    async def _preview(self) -> None:
        await asyncio.sleep(TYPING_SECONDS)
        if self._reading is None or not self.query(TextArea) or not self.query("#mapped-words"):  # it is gone
            return
        words = self.query_one("#mapped-words", Static)
        try:
            row = await in_background(_first_row, replace(self._reading, mapping=self._lines(), asked="auto"))
        except (TunerError, OSError) as error:
            words.update(literal(f"✗ {error}", "$error"))
        else:
            words.update(row_words(row))

    def _lines(self) -> tuple[str, ...]:
        """The typed lines; None where they are the detected mapping."""
        lines = tuple(line.strip() for line in self.query_one(TextArea).text.split("\n") if line.strip())
        return () if lines == self._guess else lines

    def action_take(self) -> None:
        self.post_message(self.Mapped(self._lines()))

    def action_guess(self) -> None:
        self.query_one(TextArea).text = "\n".join(self._guess)
        self.post_message(self.Mapped(()))

    def _say(self, words: Content) -> None:
        if self.query("#columns-words"):
            self.query_one("#columns-words", Static).update(words)


def _recognised(reading: Reading) -> tuple[list[str], Layout | None]:
    """(the columns' names, the layout where one was recognised). Raises InputError for no rows."""
    names: dict[str, None] = {}
    for first_row in islice(raw_rows(reading), 50):
        if not isinstance(first_row.row, InputError):
            names.update(dict.fromkeys(map(str, first_row.row)))
    try:
        return list(names), plain_rows(reading).layout
    except InputError:
        return list(names), None


def _first_row(reading: Reading) -> RowFound:
    """The first row by a mapping. Raises InputError for an unusable mapping."""
    plain = next(plain_rows(reading, with_fixes=False).rows)
    raw = next(raw_rows(reading))
    return row_found(1, raw, plain)

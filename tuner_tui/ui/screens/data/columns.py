"""How columns are mapped: each part's column is chosen from a list, beside a row as it is trained then."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static, TextArea

from tuner_tui.config.draft import UNSET
from tuner_tui.data.recognition.formats import Layout
from tuner_tui.data.recognition.mapping import mapping_lines, parse_mapping
from tuner_tui.data.recognition.mapping_form import TYPES, ColumnSample, MappingForm, column_samples
from tuner_tui.data.recognition.reading import Reading, plain_rows, raw_rows
from tuner_tui.data.rows.search import row_found
from tuner_tui.errors import InputError, TunerError
from tuner_tui.ui.background import in_background
from tuner_tui.ui.modals.pick_one import PickOne
from tuner_tui.ui.screens.data.rows import row_words
from tuner_tui.ui.screens.data.tokens import legend, look_at, running_text, title
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.rows.search import RowFound
    from tuner_tui.data.tokens.microscope import LookReply
    from tuner_tui.keeper.microscope import Microscope

TYPING_SECONDS = 0.3
TYPE, NONE, WRITE = " type", " none", " write"
"""Lines that are no part and no column; no template begins with a blank."""
NEEDED = "choose a column"
PART_WIDTH = 12
"""Cells of a part's name; the few longer ones push their column to the right."""


class ColumnsPane(Vertical):
    """Enter on a part lists the columns; e edits the mapping's lines, ctrl+g restores the detected mapping."""

    BINDINGS = [  # noqa: RUF012
        Binding(
            "e", "edit", "Edit lines", tooltip="Write the mapping's lines, with templates of several columns"
        ),
        Binding("left", "step(-1)", "Previous row", show=False, tooltip="Preview the row before"),
        Binding("right", "step(1)", "Next row", show=False, tooltip="Preview the row after"),
        Binding(
            "ctrl+s",
            "take",
            "Apply",
            priority=True,
            tooltip="Use this mapping; leaving this part does it, too",
        ),
        Binding("ctrl+g", "guess", "Detected", priority=True, tooltip="Restore the detected mapping"),
    ]
    help_text = (
        "Enter on a part of the dataset type lists the columns with a value of each; the row beside is previewed, left "
        "and right change it, and with a model it is shown as trained. Leaving this part applies the mapping.\n"
        "e edits it as lines, PART = TEMPLATE. In a template {column} is a value, as it is where it stands alone; "
        "{column.key.0} lies inside a value, \\n is a new line, {{ and }} are braces: prompt = {question}\\n{context}. "
        "label = {score} > 3 is true above 3; verdict = {column} < 4 prefers the first answer below 4. Parts: "
        "messages; user and assistant; prompt and completion; text; chosen and rejected; first, second and verdict; "
        "label; system, history, reasoning, tools, chat_template_kwargs."
    )

    class Mapped(Message):
        """The mapping is changed to these lines; none for the detected mapping."""

        def __init__(self, lines: tuple[str, ...]) -> None:
            super().__init__()
            self.lines = lines

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._spec: RunSpec | None = None
        self._reading: Reading | None = None
        self._microscope: Microscope | None = None
        self._guess: tuple[str, ...] = ()
        self._form: MappingForm | None = MappingForm()
        """None for a detected mapping that no lines say, such as of arenas' two answers with a winner."""
        self._row = 1
        self.is_ready = False
        """Whether how the rows are read is shown; before that there is nothing to apply."""

    def compose(self) -> ComposeResult:
        yield Static("", id="columns-words", markup=False)
        with Horizontal(id="columns-body"):
            yield PickList(id="mapping-parts")
            yield TextArea(id="mapping", soft_wrap=True, tab_behavior="focus")
            with VerticalScroll(id="mapped-row"):
                yield Static("", id="mapped-words", markup=False)

    def on_mount(self) -> None:
        self.query_one(TextArea).display = False

    @property
    def is_editing(self) -> bool:
        """Whether the mapping is edited as lines."""
        return bool(self.query_one(TextArea).display)

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(TextArea if self.is_editing else PickList))

    def show(self) -> None:
        """The part is shown now."""
        self.focus_first()
        self._preview()

    def leave_lines(self) -> None:
        """Back to the list of parts; lines that cannot be read stay as they are."""
        try:
            lines = self._typed_lines()
            self._form = MappingForm.of_mapping(parse_mapping(lines)) if lines else self._form
        except InputError:
            self.screen.set_focus(self.query_one("#mapped-row", VerticalScroll))
            return
        self._show_lines(False)
        self._show_parts()

    def open(self, spec: RunSpec, reading: Reading, microscope: Microscope) -> None:
        """Show how a data set is read."""
        self._spec, self._reading, self._microscope = spec, reading, microscope
        self.is_ready = False
        self._begin(spec.data.mapping)

    @work(exclusive=True, group="columns")
    async def _begin(self, mapping: tuple[str, ...]) -> None:
        assert self._reading is not None
        try:
            names, layout = await in_background(_recognised, replace(self._reading, mapping=()))
        except (TunerError, OSError) as error:
            self._say(literal(str(error), "$error"))
            return
        self._guess = mapping_lines(layout.mapping) if layout else ()
        self.is_ready = True
        why = f"detected: {layout.shape}, because {layout.reason}" if layout else "no dataset type detected"
        self._say(
            Content("\n").join([literal(f"columns: {', '.join(names)}", "bold"), literal(why, "$secondary")])
        )
        self._fill(mapping or self._guess)

    def _fill(self, lines: tuple[str, ...]) -> None:
        """Show other lines, as parts where they can be read."""
        try:
            self._form = MappingForm.of_mapping(parse_mapping(lines)) if lines else MappingForm()
        except InputError:
            self._form = None
        if self.is_editing:
            self.query_one(TextArea).text = "\n".join(lines)
        self._show_parts()

    # The parts ---------------------------------------------------------------------------------------------

    def _show_parts(self, part: str | None = None) -> None:
        form = self._form
        if form is None:
            rows = [_part_row(TYPE, "dataset type", "as detected")]
            for line in self._guess:
                name, _, template = line.partition(" = ")
                rows.append(_part_row(f"{TYPE} {line}", name, template))
        else:
            rows = [_part_row(TYPE, "dataset type", form.type.name)]
            for name in form.type.parts:
                empty = NEEDED if name in form.missing else "-"
                template = form.mapping.get(name, "").replace("\n", "\\n")
                rows.append(_part_row(name, name, template or empty))
        self.query_one(PickList).show(tuple(rows), part)
        self._preview()

    @on(OptionList.OptionSelected, "#mapping-parts")
    def choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._form is None or event.option_id == TYPE:
            self._choose_type()
        elif event.option_id is not None:
            self._choose_column(self._form, event.option_id)

    @work(exclusive=True, group="choosing")
    async def _choose_type(self) -> None:
        rows = tuple(PickRow(each.name, each.name, (each.words,)) for each in TYPES)
        form = self._form or MappingForm()
        chosen = await self.app.push_screen_wait(PickOne("Dataset type", rows, form.type.name))
        if chosen is not None:
            self._form = form = form.with_type(chosen)
            self._show_parts(next(iter(form.missing), TYPE))

    @work(exclusive=True, group="choosing")
    async def _choose_column(self, form: MappingForm, part: str) -> None:
        assert self._reading is not None
        try:
            samples = await in_background(
                column_samples, self._reading, by_verdict="verdict" in form.type.needed
            )
        except (TunerError, OSError) as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        used = {template: name for name, template in form.mapping.items()}
        rows = [_column_row(sample, used) for sample in samples]
        if part in form.mapping and part not in form.type.needed:
            rows.append(PickRow(NONE, "none", ("", "leave this part out")))
        rows.append(PickRow(WRITE, "write a template", ("", "text, several columns, a threshold")))
        chosen = await self.app.push_screen_wait(
            PickOne(f"Column for {part}", tuple(rows), form.mapping.get(part))
        )
        if chosen == WRITE:
            self.action_edit()
        elif chosen is not None:
            self._form = form = form.with_part(part, "" if chosen == NONE else chosen)
            self._show_parts(next(iter(form.missing), part))

    # The lines ---------------------------------------------------------------------------------------------

    def action_edit(self) -> None:
        self.query_one(TextArea).text = "\n".join(self._form.lines if self._form else ())
        self._show_lines(True)
        self.focus_first()

    def _show_lines(self, is_editing: bool) -> None:
        self.query_one(TextArea).display = is_editing
        self.query_one(PickList).display = not is_editing
        self.focus_first()
        self.screen.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not self.is_editing if action in ("edit", "step") else True

    def _typed_lines(self) -> tuple[str, ...]:
        return tuple(line.strip() for line in self.query_one(TextArea).text.split("\n") if line.strip())

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the mapping; none where they are the detected mapping."""
        lines = self._typed_lines() if self.is_editing else self._form.lines if self._form else ()
        return () if lines == self._guess else lines

    @property
    def problem(self) -> str:
        """What keeps the mapping from being used; empty where nothing does."""
        lines = self.lines
        if not lines:
            return ""
        if not self.is_editing and self._form is not None and (missing := self._form.missing):
            return f"{self._form.type.name} needs a column for {' and '.join(missing)}"
        try:
            parse_mapping(lines)
        except InputError as error:
            return f"{error.title}: {error.message}".rstrip(".")
        return ""

    def action_take(self) -> None:
        if self.problem:
            self.notify(f"{self.problem}.", severity="warning", markup=False)
        else:
            self.post_message(self.Mapped(self.lines))

    def action_guess(self) -> None:
        self._fill(self._guess)
        self.post_message(self.Mapped(()))

    # The preview -------------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        self._row = max(1, self._row + by)
        self._preview()

    @on(TextArea.Changed)
    def preview_lines(self) -> None:
        if self.is_editing:
            self._preview()

    @work(exclusive=True, group="preview")
    async def _preview(self) -> None:
        if self.is_editing:
            await asyncio.sleep(TYPING_SECONDS)
        if self._reading is None or self._spec is None or not self.query("#mapped-words"):  # it is gone
            return
        if not self.display:  # another part is shown
            return
        if self.problem:
            self._show_preview(literal(f"✗ {self.problem}.", "$error"))
            return
        reading = replace(self._reading, mapping=self.lines, asked="auto")
        try:
            self._row, row = await in_background(_row_at, reading, self._row)
        except (TunerError, OSError) as error:
            self._show_preview(literal(f"✗ {error}", "$error"))
            return
        self._show_preview(row_words(row))
        if row.problem is None and self._spec.model.source != UNSET and self._microscope is not None:
            try:
                reply = await in_background(look_at, self._microscope, self._spec, reading, self._row)
            except (TunerError, OSError):  # the text stays
                return
            if reply.sequences and self.query("#mapped-words"):
                self._show_preview(_as_trained(self._row, reply))

    def _show_preview(self, words: Content) -> None:
        if self.query("#mapped-words"):
            self.query_one("#mapped-words", Static).update(words)

    def _say(self, words: Content) -> None:
        if self.query("#columns-words"):
            self.query_one("#columns-words", Static).update(words)


def _part_row(key: str, name: str, chosen: str) -> PickRow:
    """One cell, since the list is as narrow as the longest part's name."""
    return PickRow(key, f"{name:<{PART_WIDTH}} {chosen}")


def _column_row(sample: ColumnSample, used: dict[str, str]) -> PickRow:
    """What a column is used for stands before its value, which may be long and is cut."""
    part = used.get(sample.template)
    return PickRow(sample.template, sample.path, (f"used for {part}" if part else "", sample.sample))


def _as_trained(row: int, reply: LookReply) -> Content:
    """The row as the trainer gets it."""
    lines = [literal(f"Row {row:,} as it is trained", "bold"), legend()]
    lines += [literal(f"! {words}", "$warning") for words in reply.left_out]
    for sequence in reply.sequences:
        lines += [title(sequence), running_text(sequence)]
        lines += [literal(f"! {note}", "$warning") for note in sequence.notes]
    return Content("\n").join(lines)


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


def _row_at(reading: Reading, place: int) -> tuple[int, RowFound]:
    """(place, row) by a mapping; the last row where there are fewer. Raises InputError for an unusable mapping."""
    rows = zip(raw_rows(reading), plain_rows(reading, with_fixes=False).rows, strict=False)
    last = deque(enumerate(islice(rows, place), 1), maxlen=1)
    if not last:
        raise InputError("There are no rows", f"{reading.path} has no rows.")
    [(at, (raw, plain))] = last
    return at, row_found(at, raw, plain)

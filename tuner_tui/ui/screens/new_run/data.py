"""Step 2: training rows with a preview, and held-out rows."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from tuner_tui.config.draft import UNSET
from tuner_tui.data.files.listing import DataListing, DataLook
from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.errors import NotFoundError
from tuner_tui.text import counted, plain, size
from tuner_tui.ui.background import in_background
from tuner_tui.ui.data_looks import list_all, look_at_training, of_file
from tuner_tui.ui.path_suggester import PathSuggester
from tuner_tui.ui.screens.new_run.model import SearchInput
from tuner_tui.ui.widgets.literal import fit, literal
from tuner_tui.ui.widgets.option_form import OptionForm
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft
    from tuner_tui.config.options import Option
    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side
    from tuner_tui.errors import TunerError
    from tuner_tui.ui.screens.new_run.state import NewRunState

PROBLEM_LINES = ((34, 14), (22, 6), (0, 2))
"""Lines for a problem beside its hint, from a terminal's height on; as many as `screen.tcss` leaves."""
FORM_KEYS = ("data.evaluation_share", "data.evaluation")


class RowPreview(Static):
    """Dataset type, row count and first rows of a data file, or its problem."""

    def show(self, name: str, look: DataLook | None) -> None:
        """A preview of a file; None while it is being read."""
        self.set_class(bool(look and look.problem), "-problem")
        if look is None:
            self.update(literal(f"Reading {name} ..." if name else "", "$faint"))
            return
        lines: list[Content] = []
        width = max(20, self.size.width or 76)
        if look.problem:
            if is_inspectable(look):
                words = "Enter shows its problems and what fixes them. f3 maps its columns."
                lines.append(literal(words, "bold $accent"))
            lines += [literal(line) for line in self._problem_lines(look.problem, width - 2)]
        else:
            more = "more than " if look.is_partial else ""
            lines.append(literal(f"{more}{counted(look.rows, 'row')}, dataset type {look.shape}", "bold"))
            lines.append(literal("f2 shows problems, lengths and tokens; f3 maps the columns.", "$faint"))
        lines += [literal(line, "$warning") for line in look.left_out]
        for example in look.first_rows:
            lines += [literal(fit(line, width).rstrip()) for line in _row_lines(example)]
        self.update(Content("\n").join(lines))

    def _problem_lines(self, problem: TunerError, width: int) -> list[str]:
        """A problem in as many lines as there are; what does not fit is one key away, and says so."""
        lines = wrap(f"! {plain(problem.in_one_line)}", width)
        height = self.app.size.height
        room = next(room for least, room in PROBLEM_LINES if height >= least)
        return lines if len(lines) <= room else [*lines[: room - 1], "… f2 shows all of it."]


class DataPane(Vertical):
    """Data files of the current folder, with a preview of the highlighted one."""

    BINDINGS = [  # noqa: RUF012
        Binding("slash", "search", "Type a path", priority=True, tooltip="Type the path of a data file"),
        Binding(
            "f2",
            "inspect",
            "Inspect",
            tooltip="Problems, lengths, rows, tokens and columns of this data",
        ),
        Binding(
            "f3", "map_columns", "Columns", tooltip="Choose which columns of this data are used, and for what"
        ),
    ]

    class Picked(Message):
        """A data file was chosen."""

        def __init__(self, name: str, *, is_usable: bool = True) -> None:
            super().__init__()
            self.name = name
            self.is_usable = is_usable
            """Whether the next step can follow; a file with a problem is chosen with it."""

    class Inspected(Message):
        """A data file is to be inspected."""

        def __init__(self, name: str, part: str = "checks") -> None:
            super().__init__()
            self.name = name
            self.part = part
            """The part of the Data screen to begin with."""

    def __init__(self, draft: Draft, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._draft = draft
        self._listed: list[DataListing] = []
        self._current = UNSET
        self._looks: dict[str, DataLook] = {}
        self._wants_documents = False

    def compose(self) -> ComposeResult:
        yield SearchInput(
            placeholder="a file, a folder of files, or hub:owner/name",
            suggester=PathSuggester(),
            compact=True,
        )
        yield PickList(
            help_text="Data files in this folder and its subfolders, and your feedback. Enter chooses one."
        )
        yield RowPreview(classes="pane-detail")
        yield OptionForm(self._draft, _is_wanted)

    def on_mount(self) -> None:
        self._list_files()

    def focus_first(self) -> None:
        """In the input: what is typed here is a path, and never a key."""
        self.screen.set_focus(self.query_one(SearchInput))

    async def show(self, state: NewRunState) -> None:
        """Follow the draft."""
        before, now = self._draft.spec, state.draft.spec
        if (before.method.kind, before.data.chunk_bytes) != (now.method.kind, now.data.chunk_bytes):
            self._looks.clear()  # rows are read differently
        self._draft = state.draft
        if self._wants_documents != (now.data.chunk_bytes is not None):
            self._wants_documents = not self._wants_documents
            self._list_files()
        data = state.draft.spec.data
        if state.data is not None:
            self._looks[data.train] = state.data
        if data.train != self._current:
            self._looks.pop(self._current, None)  # by its mapping, which is dropped with it
            self._current = data.train
            self._show_rows(data.train)
        self._look()
        await self.query_one(OptionForm).show(state.draft)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A slash typed into an input is text."""
        if action in ("inspect", "map_columns"):
            return self._inspected() is not None
        return action != "search" or not isinstance(self.screen.focused, Input)

    def _inspected(self) -> str | None:
        """The selected or chosen file, if it can be read."""
        name = self.query_one(PickList).picked_key if self.query(PickList) else None
        name = name or (None if self._current == UNSET else self._current)
        return name if name in self._looks else None

    def action_inspect(self) -> None:
        name = self._inspected()
        if name is not None:
            self.post_message(self.Inspected(name))

    def action_map_columns(self) -> None:
        name = self._inspected()
        if name is not None:
            self.post_message(self.Inspected(name, "columns"))

    def action_search(self) -> None:
        self.screen.set_focus(self.query_one(SearchInput))

    async def focus_option(self, key: str) -> None:
        if not await self.query_one(OptionForm).focus_option(key):
            self.focus_first()

    @work(exclusive=True, group="local-data")
    async def _list_files(self) -> None:
        self._listed = await in_background(list_all, Path.cwd(), documents=self._wants_documents)
        self._show_rows(None if self._current == UNSET else self._current)

    @on(Input.Changed, "SearchInput")
    def narrow(self, event: Input.Changed) -> None:
        event.stop()
        self._show_rows(None)

    @on(Input.Submitted, "SearchInput")
    def take_first(self, event: Input.Submitted) -> None:
        event.stop()
        self._pick(self.query_one(PickList).picked_key)

    @on(OptionList.OptionSelected, "PickList")
    def pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._pick(event.option_id)

    @on(OptionList.OptionHighlighted, "PickList")
    def look_at_highlighted(self) -> None:
        self._look()

    @property
    def typed_choice(self) -> str | None:
        """What stands in the input and is no part of a listed name, where it is not chosen yet: a path."""
        typed = self.query_one(SearchInput).value.strip()
        is_choice = typed in [row.key for row in self.query_one(PickList).rows]
        return typed if is_choice and typed != self._current else None

    def _pick(self, name: str | None) -> None:
        """Choose a file, also one with a problem: else the run would be trained on the data before."""
        if name is None:
            return
        look = self._looks.get(name)
        is_usable = look is None or look.problem is None or look.is_for_other_method
        self.post_message(self.Picked(name, is_usable=is_usable))
        if look is not None and not is_usable:
            self.app.bell()
            if is_inspectable(look):
                self.post_message(self.Inspected(name))

    @work(exclusive=True, group="data-look")
    async def _look(self) -> None:
        name = self.query_one(PickList).picked_key
        preview = self.query_one(RowPreview)
        preview.show(name or "", self._looks.get(name or ""))
        if name and name not in self._looks:
            self._looks[name] = await in_background(look_at_training, of_file(self._draft.spec, name))
            preview.show(name, self._looks[name])
        self.screen.refresh_bindings()

    def _show_rows(self, key: str | None) -> None:
        if not self.query(PickList):  # the screen is being taken down
            return
        typed = self.query_one(SearchInput).value.strip()
        listed = [listing for listing in self._listed if typed.lower() in listing.name.lower()]
        if (
            typed
            and typed not in [listing.name for listing in listed]
            and ("/" in typed or "." in typed or not listed)
        ):
            listed.insert(0, DataListing(typed, None, "as typed"))
        if not typed and self._current != UNSET and self._current not in [listing.name for listing in listed]:
            listed.insert(min(1, len(listed)), DataListing(self._current, None, "chosen"))
        self.query_one(PickList).show(tuple(map(_row, listed)), key)


def is_inspectable(look: DataLook) -> bool:
    """Whether there is something to inspect and fix in data that cannot be used: a missing file has nothing."""
    has_problem = look.problem is not None and not look.is_for_other_method
    return has_problem and not isinstance(look.problem, NotFoundError)


def _is_wanted(option: Option) -> bool:
    return option.key in FORM_KEYS


def _row(listing: DataListing) -> PickRow:
    return PickRow(
        listing.name, listing.name, (size(listing.size_bytes) if listing.size_bytes else "", listing.remark)
    )


def _row_lines(example: AnyExample) -> list[str]:
    """A row as one line: roles with their texts, or its text."""
    if isinstance(example, PairExample):
        sides = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
        return [f"  {name}: {_said(side)}" for name, side in sides.items()]
    if isinstance(example, RatedExample):
        return [
            f"  prompt: {_said(example.prompt)}",
            f"  {'good' if example.label else 'bad'}: {_said(example.completion)}",
        ]
    if example.messages:
        turns = [
            f"{message.role}: {' '.join(' '.join(message.texts).split())}" for message in example.messages
        ]
        return [f"  {turn}" for turn in turns[:3]]
    parts = [f"prompt: {' '.join(example.prompt.split())}"] if example.prompt else []
    return [f"  {part}" for part in (*parts, " ".join(example.text.split()))]


def _said(side: Side) -> str:
    """The last thing said, on one line."""
    return " ".join((side if isinstance(side, str) else " ".join(side[-1].texts)).split())

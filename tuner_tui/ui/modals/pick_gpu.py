"""Asks for a GPU by its memory, to see what would fit on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events, on
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from tuner_tui.errors import InputError
from tuner_tui.planning.what_if import COMMON_GPUS, parse_gpu
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

HERE = "here"
LONGEST_SIZE = 3
"""Digits of the largest memory; a longer number is rather a part of a GPU's name."""
_HINT = "Enter shows the memory on it; the run itself stays on this machine. esc cancels."


class PickGpu(ModalScreen[str | None]):
    """Returns a GPU's advertised memory such as `24 GB`, empty for this machine, or None."""

    DEFAULT_CSS = "PickGpu PickList { height: auto; max-height: 12; }"
    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, machine: str, chosen: str = "") -> None:
        super().__init__()
        self._machine, self._chosen = machine, chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("What would fit on another GPU?", classes="title")
            yield Input(placeholder="its memory, such as 24 GB, or a part of its name", compact=True)
            yield PickList()
            yield Static(_HINT, classes="hint")

    def on_mount(self) -> None:
        self._show("")
        self.query_one(PickList).show(self.query_one(PickList).rows, self._chosen or HERE)

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        self._show(event.value)

    @on(Input.Submitted)
    def take_first(self, event: Input.Submitted) -> None:
        key = self.query_one(PickList).picked_key
        if key is not None:
            self._take(key)
            return
        try:
            parse_gpu(event.value)
        except InputError as error:
            self.query_one(".hint", Static).update(literal(f"{error.message} {error.hint}", "$error"))

    @on(OptionList.OptionSelected)
    def pick(self, event: OptionList.OptionSelected) -> None:
        if event.option_id is not None:
            self._take(event.option_id)

    def on_key(self, event: events.Key) -> None:
        """Up and down move in the list while typing."""
        if event.key in ("up", "down") and isinstance(self.focused, Input):
            event.stop()
            rows = self.query_one(PickList)
            rows.action_cursor_up() if event.key == "up" else rows.action_cursor_down()

    def _take(self, key: str) -> None:
        self.dismiss("" if key == HERE else key)

    def _show(self, typed: str) -> None:
        self.query_one(".hint", Static).update(_HINT)
        wanted = typed.strip().lower()
        rows = [PickRow(HERE, "this machine", (self._machine,))]
        listed = dict(COMMON_GPUS)
        if self._chosen and self._chosen not in listed:
            listed = {self._chosen: "as typed before"} | listed
        rows += [PickRow(memory, memory, (names,)) for memory, names in listed.items()]
        rows = [row for row in rows if wanted in " ".join((row.name, *row.cells)).lower()]
        rows.sort(key=lambda row: not row.name.startswith(wanted))
        memory = _as_size(wanted)
        if memory is not None and memory not in listed:
            place = (
                len(rows) if len(wanted) > LONGEST_SIZE and wanted.isdigit() else 0
            )  # 1660 is a name before
            rows.insert(place, PickRow(memory, memory, ("as typed",)))
        self.query_one(PickList).show(tuple(rows))
        if rows:
            self.query_one(PickList).highlighted = 0
        else:
            words = "No GPU of that name is listed: type its memory, such as 24 GB."
            self.query_one(".hint", Static).update(Content(words))


def _as_size(text: str) -> str | None:
    """A typed text as advertised memory, with its unit; None for one that is no size."""
    try:
        parse_gpu(text)
    except InputError:
        return None
    return f"{text} GB" if text.replace(".", "", 1).isdigit() else text

"""A list to pick from: rows of columns that fit the width, with literal text."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuner_tui.text import plain
from tuner_tui.ui.widgets.literal import fit, fit_name

GAP = 2
NARROWEST_NAME = 18
NARROWEST_CELL = 10


@dataclass(frozen=True)
class PickRow:
    """One row: what it stands for, its name, and further columns."""

    key: str
    name: str
    cells: tuple[str, ...] = ()


class PickList(OptionList):
    """Rows with a cursor; Enter or a click chooses one (OptionList.OptionSelected, whose id is the row's key)."""

    DEFAULT_CSS = """
    PickList {
        border: none; padding: 0; background: $background; height: 1fr;
        &:focus { border: none; background-tint: $background 0%; }
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
        &:focus > .option-list--option-highlighted {
            background: $cursor; color: $foreground; text-style: bold;
        }
        &:ansi > .option-list--option-highlighted { text-style: underline; }
        &:ansi:focus > .option-list--option-highlighted { text-style: reverse; }
    }
    """
    BINDINGS = [Binding("enter", "select", "Pick", tooltip="Choose the selected line")]  # noqa: RUF012

    def __init__(self, *, id: str | None = None, help_text: str = "") -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self.help_text = help_text
        self.rows: tuple[PickRow, ...] = ()

    @property
    def picked_key(self) -> str | None:
        """The row under the cursor."""
        return None if self.highlighted is None else self.rows[self.highlighted].key

    def show(self, rows: tuple[PickRow, ...], key: str | None = None) -> None:
        """Show other rows; the cursor goes to a row's key, else stays on its row or goes to the first."""
        if rows == self.rows and key in (None, self.picked_key):
            return
        wanted = key if key is not None else self.picked_key
        if self.is_attached and bool(rows) != bool(self.rows):
            self.screen.refresh_bindings()
        self.rows = rows
        keys = [row.key for row in rows]
        with self.prevent(OptionList.OptionHighlighted):
            self.clear_options()
            self.add_options(
                Option(prompt, id=row.key) for row, prompt in zip(rows, self._prompts(), strict=True)
            )
        self.highlighted = keys.index(wanted) if wanted in keys else (0 if rows else None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a row there is nothing to choose."""
        return bool(self.rows) if action == "select" else True

    def on_resize(self, event: events.Resize) -> None:
        for index, prompt in enumerate(self._prompts()):
            self.replace_option_prompt_at_index(index, prompt)

    def _prompts(self) -> list[Content]:
        room = max(NARROWEST_NAME, (self.size.width or 78) - 3)
        widths = self._cell_widths(room)
        left = room - sum(width + GAP for width in widths if width)
        return [self._prompt(row, min(left, self._longest_name()), widths) for row in self.rows]

    def _longest_name(self) -> int:
        return max((cell_len(plain(row.name)) for row in self.rows), default=0)

    def _cell_widths(self, room: int) -> list[int]:
        """Widths of the further columns; what does not fit is cut or left out from the right."""
        name = min(self._longest_name(), max(NARROWEST_NAME, room // 2))
        left = room - name
        widths = []
        for column in range(max((len(row.cells) for row in self.rows), default=0)):
            cells = [row.cells[column] for row in self.rows if len(row.cells) > column]
            width = min(max(map(cell_len, map(plain, cells))), left - GAP)
            if width < NARROWEST_CELL and width < max(map(cell_len, map(plain, cells))):
                break
            widths.append(width)
            left -= width + GAP if width else 0
        return widths

    def _prompt(self, row: PickRow, name_width: int, widths: list[int]) -> Content:
        parts = [Content(fit_name(row.name, name_width))]
        for cell, width in zip(row.cells, widths, strict=False):
            if width:
                parts += [Content(" " * GAP), Content.styled(fit(cell, width), "$secondary")]
        return Content("").join(parts)


class CursorList(PickList):
    """A list whose line under the cursor is the choice, so that Enter has nothing to do."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "select"

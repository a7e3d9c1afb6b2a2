"""The run's memory in each precision, against the free memory."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tuner_tui.planning.calibration import origin_words
from tuner_tui.planning.place import Place
from tuner_tui.planning.run_time import UNKNOWN, Outlook
from tuner_tui.planning.table import MemoryRow, MemoryTable
from tuner_tui.planning.workload import LoadedAs
from tuner_tui.text import size
from tuner_tui.ui.widgets.literal import fit

NAMES: dict[LoadedAs, str] = {
    "fp32": "fp32", "bf16": "16 bit", "int8": "int8", "nf4": "4-bit", "stored": "as stored",
}  # fmt: skip
SHORT_NAMES: dict[LoadedAs, str] = {
    "fp32": "fp32", "bf16": "16bit", "int8": "int8", "nf4": "4bit", "stored": "stored",
}  # fmt: skip
STYLES = {"fits": "$success", "tight": "$warning", "too big": "$error", "unknown": ""}
MARKS = {"fits": "", "tight": "~", "too big": "!", "unknown": ""}
TITLE = "Memory of this run"
GB = 1e9


@dataclass(frozen=True)
class MemoryView:
    """All that the panel shows."""

    model: str = ""
    table: MemoryTable | None = None
    """None while nothing is picked, or its headers are being read."""
    parameters: int | None = None
    """The model's parameters, where nothing else is known."""
    place: Place | None = None
    holders: tuple[tuple[str, int], ...] = ()
    """Processes that use memory there, the largest first."""
    is_waiting: bool = False
    note: str = ""
    """A note on that memory, such as what is unknown."""
    outlook: Outlook = UNKNOWN
    """The run's expected time and energy cost, from earlier runs here."""
    what_if: str = ""
    """Memory of the GPU that is shown in place of this machine, such as `24 GB`; empty for this machine."""

    @property
    def rows(self) -> tuple[MemoryRow, ...]:
        """The precisions, from heavy to light."""
        return self.table.rows if self.table else ()


class MemoryPanel(Widget):
    """A table where it is wide, a column beside the pane, one line where there is no room."""

    DEFAULT_CSS = "MemoryPanel { height: 4; padding: 0 1; }"
    help_text = (
        "The run's memory in each precision. Fits: the whole range fits in free memory. Tight: only the lower end "
        "does, so a large batch may not fit. Too big by: the expected shortfall. "
        "m shows every term, f4 shows what would fit on another GPU."
    )

    view: reactive[MemoryView] = reactive(MemoryView())

    def render(self) -> Content:
        width, height = self.content_size
        if height < 3:
            return self._one_line(width)
        return self._table(width, height) if width >= 66 else self._column(width)

    def _one_line(self, width: int) -> Content:
        """All totals in gigabytes; the chosen one is marked, ~ is tight, and an exclamation mark is too big."""
        view = self.view
        if not view.rows:
            return Content(fit(f"{TITLE}: {self._note()}; {self._free_words()}", width))
        amounts = []
        for row in view.rows:
            mark = "▸" if self._is_chosen(row) else ""
            amount = f"{row.estimate.words('-')}{MARKS[row.verdict]}"
            amounts.append(f"{mark}{SHORT_NAMES[row.loaded_as]} {amount}")
        room = view.place.room_bytes if view.place else None
        ending = f" GB; {room / GB:.1f} free" if room is not None else " GB"
        if view.what_if and room is not None:
            ending = f" GB; what if {room / GB:.1f} free"
        while len(amounts) > 1 and len("  ".join(amounts) + ending) > width:
            amounts = amounts[1:]
        return Content(fit("  ".join(amounts) + ending, width))

    def _table(self, width: int, height: int) -> Content:
        head = f"  {'precision':<10}{'weights':>8}{'states':>8}{'activations':>13}{'total':>8}   "
        lines = [
            Content.assemble(
                (head, "$secondary"), (fit(f"{self._free_words()}", max(0, width - len(head))), "bold")
            )
        ]
        if not self.view.rows:
            return Content("\n").join([*lines, Content(fit(f"  {TITLE}: {self._note()}", width))])
        for row in self._shown(height - 1):
            estimate = row.estimate
            numbers = (estimate.weights, estimate.states, estimate.activations, estimate.likely)
            weights, states, activations, total = (f"{number / GB:.1f}" for number in numbers)
            if not estimate.has_figure:
                activations = total = "?"
            name = f"{'▸' if self._is_chosen(row) else ' '} {NAMES[row.loaded_as]}"
            text = f"{name:<12}{weights:>8}{states:>8}{activations:>13}{total:>8}   "
            style = "bold" if self._is_chosen(row) else ""
            verdict = self._verdict(row)
            if not estimate.has_figure:
                verdict = f"{estimate.words()} GB{f': {verdict}' if verdict else ''}"
            words = fit(verdict, max(0, width - len(text)))
            lines.append(Content.assemble((text, style), (words, STYLES[row.verdict])))
        return Content("\n").join(lines)

    def _column(self, width: int) -> Content:
        view = self.view
        lines = [Content.styled(fit(TITLE, width), "bold"), Content(fit(f"  {self._free_words()}", width))]
        for row in view.rows:
            is_chosen = self._is_chosen(row)
            figure = row.estimate.words("-")
            amount = f"{'▸' if is_chosen else ' '} {NAMES[row.loaded_as]:<10}{figure:>6} GB"
            words = fit(row.words, max(0, width - len(amount) - 2))
            lines.append(
                Content.assemble((amount, "bold" if is_chosen else ""), "  ", (words, STYLES[row.verdict]))
            )
        faint = [
            *self._details(),
            self._note(),
            *(f"{name} uses {used_bytes / GB:.1f} GB" for name, used_bytes in view.holders[:3]),
            view.note,
        ]
        lines += [Content.styled(fit(f"  {words}", width), "$faint") for words in faint if words]
        return Content("\n").join(lines)

    def _details(self) -> list[str]:
        """The chosen precision: parts, range and batch."""
        row = self.view.table.chosen_row if self.view.table else None
        if row is None:
            return []
        estimate, load = row.estimate, row.load
        return [
            f"weights {estimate.weights / GB:.1f}, states {estimate.states / GB:.1f}",
            f"activations {estimate.activations / GB:.1f}"
            if estimate.has_figure
            else "activations not verified for this architecture",
            f"{estimate.low / GB:.1f} to {estimate.high / GB:.1f} GB, batch {load.rows} x {load.length}",
            f"checkpointing {load.checkpointing}; m: every term",
            origin_words(estimate),
            self.view.outlook.words,
        ]

    def _shown(self, count: int) -> list[MemoryRow]:
        """As many rows as fit: the smallest, and always the chosen one."""
        rows = list(self.view.rows)
        while len(rows) > max(count, 1):
            rows.remove(next(row for row in rows if not self._is_chosen(row)))
        return rows

    def _is_chosen(self, row: MemoryRow) -> bool:
        return self.view.table is not None and row.loaded_as == self.view.table.chosen

    def _verdict(self, row: MemoryRow) -> str:
        if row.verdict in ("fits", "tight") and self._is_chosen(row):
            time = self.view.outlook.words
            return f"{row.words}: batch {row.load.rows} x {row.load.length}{f', {time}' if time else ''}"
        if row.verdict == "too big" and self._is_chosen(row) and self.view.holders:
            name, used_bytes = self.view.holders[0]
            return f"{row.words} ({name} uses {used_bytes / GB:.1f} GB)"
        return row.words

    def _note(self) -> str:
        view = self.view
        if view.is_waiting:
            return "reading the model's headers"
        if view.table is None:
            return "no model chosen" if not view.model else "unknown"
        if not view.rows and view.parameters is not None:
            return f"the weights alone take {2 * view.parameters / GB:.1f} GB in 16 bit; {view.table.note}"
        return view.table.note

    def _free_words(self) -> str:
        place = self.view.place
        if place is None:
            return "reading free memory"
        if self.view.what_if:
            return f"What if {self.view.what_if}: {gigabytes(place.room_bytes)} free on a GPU"
        where = place.name if place.is_gpu else "RAM (no GPU)"
        if place.room_bytes is None:
            return f"{where}: free memory unknown"
        left = f", {place.leave_bytes / GB:.1f} GB kept free" if place.leave_bytes else ""
        return f"{gigabytes(place.room_bytes)} free{left}, {where}"


def gigabytes(count: int | None) -> str:
    """Bytes as text: 0.27 GB, 15.0 GB."""
    if count is None:
        return "unknown"
    if count < 10_000_000:
        return size(count)
    return f"{count / 1e9:.2f} GB" if count < 10e9 else f"{count / 1e9:.1f} GB"

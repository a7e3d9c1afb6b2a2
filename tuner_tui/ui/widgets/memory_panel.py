"""The weights of the chosen model in each precision, against the memory that is free."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tuner_tui.hardware.free_memory import FreeMemory
from tuner_tui.planning.weights import HELD, Held, WeightTable
from tuner_tui.text import size
from tuner_tui.ui.widgets.literal import fit

NAMES: dict[Held, str] = {"fp32": "fp32", "bf16": "bf16, fp16", "int8": "int8", "nf4": "4-bit (nf4)"}
SHORT_NAMES: dict[Held, str] = {"fp32": "fp32", "bf16": "16bit", "int8": "int8", "nf4": "4bit"}
TITLE = "Weights only"
MORE = "training needs more on top"


@dataclass(frozen=True)
class MemoryView:
    """All that the panel shows."""

    model: str = ""
    table: WeightTable | None = None
    """None while nothing is picked, or its headers are being read."""
    free: FreeMemory | None = None
    chosen: Held | None = None
    choice_words: str = ""
    """The precision as the spec says it."""
    is_waiting: bool = False


class MemoryPanel(Widget):
    """A small table: side by side where it is wide, one a line in a column, one line where there is no room."""

    DEFAULT_CSS = "MemoryPanel { height: 4; padding: 0 1; }"
    help_text = (
        "What the base's weights take in each precision, against the memory that is free now. "
        "Adapters, gradients, optimizer and activations come on top."
    )

    view: reactive[MemoryView] = reactive(MemoryView())

    def render(self) -> Content:
        width, height = self.content_size
        if height < 3:
            return self._one_line(width)
        return self._side_by_side(width) if width >= 66 else self._column(width)

    def _one_line(self, width: int) -> Content:
        """All four in gigabytes; the chosen one is marked, and those that are too big have an exclamation mark."""
        view = self.view
        if view.table is None or view.table.get("bf16") is None:
            return Content(fit(f"{TITLE}: {self._note()}; {self._free_words()}", width))
        amounts = []
        for held, name in SHORT_NAMES.items():
            weights, room = view.table.get(held), self._room(held)
            mark = "▸" if held == view.chosen else ""
            alarm = "!" if room is not None and room < 0 else ""
            amounts.append(f"{mark}{name} {'?' if weights is None else f'{weights / 1e9:.2f}'}{alarm}")
        free = view.free.free_bytes if view.free else None
        of_free = f" GB; {free / 1e9:.1f} free" if free is not None else " GB"
        if len("  ".join(amounts) + of_free) > width:
            of_free = " GB"
        if len("  ".join(amounts) + of_free) > width:
            amounts = amounts[1:]
        return Content(fit("  ".join(amounts) + of_free, width))

    def _side_by_side(self, width: int) -> Content:
        view = self.view
        column = (width - 2) // 4
        heads, sizes, verdicts = [], [], []
        for held in HELD:
            is_chosen = held == view.chosen
            style = "bold" if is_chosen else "$secondary"
            heads.append(Content.styled(fit(f"{'▸' if is_chosen else ' '} {NAMES[held]}", column), style))
            sizes.append(Content.styled(fit(f"  {self._bytes(held)}", column), "bold" if is_chosen else ""))
            verdicts.append(Content.styled(fit(f"  {self._verdict(held)}", column), self._style(held)))
        left = f"{TITLE}: {self._note() or self._choice()}"
        free = self._free_words()
        head = Content.assemble(
            (fit(left, max(0, width - len(free) - 1)), "bold"), " ", (fit(free, len(free)), "")
        )
        lines = [head, *(Content("").join(line) for line in (heads, sizes, verdicts))]
        return Content("\n").join(lines)

    def _column(self, width: int) -> Content:
        view = self.view
        lines = [Content.styled(fit(TITLE, width), "bold"), Content(fit(f"  {self._free_words()}", width))]
        for held in HELD:
            is_chosen = held == view.chosen
            mark = "▸" if is_chosen else " "
            amount = f"{mark} {NAMES[held]:<12}{self._bytes(held):>9}"
            verdict = self._verdict(held)
            lines.append(
                Content.assemble(
                    (amount, "bold" if is_chosen else ""),
                    "  ",
                    (fit(verdict, max(0, width - len(amount) - 2)), self._style(held)),
                )
            )
        lines += [
            Content.styled(fit(f"  {words}", width), "$faint")
            for words in (self._note(), self._choice(), MORE)
            if words
        ]
        for name, held_bytes in (view.free.holders if view.free else ())[:3]:
            lines.append(Content.styled(fit(f"  {name} holds {gigabytes(held_bytes)}", width), "$faint"))
        return Content("\n").join(lines)

    def _note(self) -> str:
        view = self.view
        if view.is_waiting:
            return "reading the model's headers"
        if view.table is None:
            return "no model picked" if not view.model else "unknown"
        return view.table.note

    def _choice(self) -> str:
        """Which row counts; the mark says it too where there is one."""
        view = self.view
        return f"precision {view.choice_words}" if view.choice_words else ""

    def _bytes(self, held: Held) -> str:
        return gigabytes(self.view.table.get(held)) if self.view.table else "-"

    def _room(self, held: Held) -> int | None:
        """Bytes left after the weights; None where either is unknown."""
        view = self.view
        weights = view.table.get(held) if view.table else None
        free = view.free.free_bytes if view.free else None
        return None if weights is None or free is None else free - weights

    def _verdict(self, held: Held) -> str:
        room = self._room(held)
        if room is None:
            return ""
        return "fits" if room >= 0 else f"over by {gigabytes(-room)}"

    def _style(self, held: Held) -> str:
        room = self._room(held)
        return "" if room is None else "$success" if room >= 0 else "$error"

    def _free_words(self) -> str:
        free = self.view.free
        if free is None:
            return "asking for free memory"
        if free.free_bytes is None:
            return f"{free.where}: free memory unknown"
        return f"{gigabytes(free.free_bytes)} free, {free.where if free.is_gpu else 'RAM (no GPU)'}"


def gigabytes(count: int | None) -> str:
    """Bytes as memory is told: 0.27 GB, 15.0 GB."""
    if count is None:
        return "unknown"
    if count < 10_000_000:
        return size(count)
    return f"{count / 1e9:.2f} GB" if count < 10e9 else f"{count / 1e9:.1f} GB"

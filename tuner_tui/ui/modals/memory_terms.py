"""Every term of a run's memory as bars, its peaks, and the formula with this model's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuner_tui.planning.calibration import origin_words
from tuner_tui.planning.place import Place
from tuner_tui.planning.planner import MemoryPlan
from tuner_tui.planning.table import MemoryRow
from tuner_tui.ui.widgets.literal import fit, literal
from tuner_tui.ui.widgets.memory_panel import NAMES, STYLES

if TYPE_CHECKING:
    from textual.app import ComposeResult

BAR_WIDTH, NAME_WIDTH = 24, 24
GB = 1e9
MEANINGS = (
    "fits: the most that may be shown as taken is free",
    "tight: only the least is; a large batch may not fit, and the run then continues with a smaller batch",
    "too big: not even the least is free",
)


class MemoryTermsModal(ModalScreen[None]):
    """Made for one precision at one moment."""

    BINDINGS = [("escape,enter,q,m", "dismiss", "Close")]  # noqa: RUF012

    def __init__(
        self,
        model: str,
        row: MemoryRow,
        place: Place | None,
        plan: MemoryPlan | None,
        beside: tuple[str, ...] = (),
    ) -> None:
        """`beside` is what else the run needs: time, download, disk."""
        super().__init__()
        self._model, self._row, self._place, self._plan, self._beside = model, row, place, plan, beside

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(
                literal(f"{self._model}, {NAMES[self._row.loaded_as]}: {self._row.words}"), classes="title"
            )
            yield Static(bars(self._row))
            yield Static(formula(self._row, self._place))
            if self._plan is not None:
                yield Static(reasons(self._plan))
            if self._beside:
                lines = [
                    Content.styled("Beside that", "bold"),
                    *(literal(f"  {each}") for each in self._beside),
                ]
                yield Static(Content("\n").join([*lines, Content("")]))
            yield Static(Content("\n").join([Content.styled(words, "$faint") for words in MEANINGS]))
            yield Static(literal("esc closes", "$faint"), classes="hint")


def bars(row: MemoryRow) -> Content:
    """One bar a term, the largest as long as there is room; terms add up to what is allocated at the highest moment."""
    found = row.estimate
    longest = max((term.bytes for term in found.terms), default=1) or 1
    lines = [
        Content.styled(f"At its highest: {found.peak.name}, {found.allocated / GB:.2f} GB allocated", "bold")
    ]
    for term in found.terms:
        length = round(BAR_WIDTH * term.bytes / longest)
        bar = ("█" * length or ("▏" if term.bytes else "")).ljust(BAR_WIDTH)
        amount = f"{term.bytes / GB:>8.2f} GB"
        lines.append(Content.assemble(fit(term.name, NAME_WIDTH), (bar, "$primary"), amount))
    return Content("\n").join([*lines, Content("")])


def formula(row: MemoryRow, place: Place | None) -> Content:
    """The sum with its numbers, the other moments, and what the driver will show."""
    found, load = row.estimate, row.load
    parts = " + ".join(f"{term.bytes / GB:.2f}" for term in found.terms if term.bytes)
    lines = [f"{term.name}: {term.words}" for term in found.terms if term.words]
    lines.append(f"sum: {parts} = {found.allocated / GB:.2f} GB")
    spread = f"{found.low / GB:.1f} to {found.high / GB:.1f} GB"
    if load.is_gpu:
        lines.append(f"the driver will show {spread}: its context, and blocks kept for later")
    else:
        lines.append(f"the process will use {spread}: libraries, and memory not given back at once")
    if place is not None and place.room_bytes is not None:
        lines.append(f"of {place.room_bytes / GB:.1f} GB free on {place.name}")
    lines.append(
        f"{load.tokens:,} tokens at once ({load.sequences} x {load.length}), {load.compute_bytes * 8}-bit arithmetic, "
        f"checkpointing {load.checkpointing}, {load.optimizer}"
    )
    lines.append("moments: " + ", ".join(f"{peak.name} {peak.bytes / GB:.2f}" for peak in found.peaks))
    if not found.is_known:
        lines.append("This architecture's activations were never compared: the range is wide.")
    lines.append(f"The range is {origin_words(found)}.")
    return Content("\n").join([*(literal(line) for line in lines), Content("")])


def reasons(plan: MemoryPlan) -> Content:
    """What the planner chooses and why, and the ways out where nothing fits."""
    lines = [Content.styled("Planned", "bold")]
    lines += [literal(f"  {each.name}: {each.value} ({each.reason})") for each in plan.choices]
    if plan.suggestions:
        lines.append(Content.styled("Suggestions", f"bold {STYLES['too big']}"))
        lines += [literal(f"  {suggestion.words}") for suggestion in plan.suggestions]
    return Content("\n").join([*lines, Content("")])

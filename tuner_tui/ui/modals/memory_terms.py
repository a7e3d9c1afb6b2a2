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
    "fits: the whole range fits in free memory",
    "tight: only the lower end of the range fits; a large batch may not, and the run then uses a smaller one",
    "too big: not even the lower end of the range fits",
)


class MemoryTermsModal(ModalScreen[None]):
    """For one precision."""

    BINDINGS = [("escape,enter,q,m", "dismiss", "Close")]  # noqa: RUF012

    def __init__(
        self,
        model: str,
        row: MemoryRow,
        place: Place | None,
        plan: MemoryPlan | None,
        beside: tuple[str, ...] = (),
    ) -> None:
        """`beside`: what else the run needs, such as time, download and disk space."""
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
                    Content.styled("Also", "bold"),
                    *(literal(f"  {line}") for line in self._beside),
                ]
                yield Static(Content("\n").join([*lines, Content("")]))
            yield Static(Content("\n").join([Content.styled(words, "$faint") for words in MEANINGS]))
            yield Static(literal("esc closes", "$faint"), classes="hint")


def bars(row: MemoryRow) -> Content:
    """One bar per term, scaled to the largest; the terms add up to the peak allocation."""
    estimate = row.estimate
    longest = max((term.bytes for term in estimate.terms), default=1) or 1
    peak = f"Peak: {estimate.peak.name}, {estimate.allocated / GB:.2f} GB allocated"
    if not estimate.has_figure:
        peak = f"Peak: probably {estimate.peak.name}; activations are a guess, and only the range is known"
    lines = [Content.styled(peak, "bold")]
    for term in estimate.terms:
        length = round(BAR_WIDTH * term.bytes / longest)
        bar = ("█" * length or ("▏" if term.bytes else "")).ljust(BAR_WIDTH)
        amount = f"{term.bytes / GB:>8.2f} GB"
        lines.append(Content.assemble(fit(term.name, NAME_WIDTH), (bar, "$primary"), amount))
    return Content("\n").join([*lines, Content("")])


def formula(row: MemoryRow, place: Place | None) -> Content:
    """The sum with its numbers, the other peaks, and what the driver will report."""
    estimate, load = row.estimate, row.load
    parts = " + ".join(f"{term.bytes / GB:.2f}" for term in estimate.terms if term.bytes)
    lines = [f"{term.name}: {term.words}" for term in estimate.terms if term.words]
    lines.append(f"sum: {parts} = {estimate.allocated / GB:.2f} GB")
    spread = f"{estimate.low / GB:.1f} to {estimate.high / GB:.1f} GB"
    if load.is_gpu:
        lines.append(f"the driver will report {spread}: with its context, and cached blocks")
    else:
        lines.append(
            f"the process will use {spread}: with libraries, and memory that is not returned at once"
        )
    if place is not None and place.room_bytes is not None:
        lines.append(f"of {place.room_bytes / GB:.1f} GB free on {place.name}")
    lines.append(
        f"{load.tokens:,} tokens per micro-batch ({load.sequences} x {load.length}), "
        f"{load.compute_bytes * 8}-bit compute, checkpointing {load.checkpointing}, {load.optimizer}"
    )
    lines.append("moments: " + ", ".join(f"{peak.name} {peak.bytes / GB:.2f}" for peak in estimate.peaks))
    if not estimate.is_known:
        lines.append("This architecture's activations were never measured: the range is wide.")
    lines.append(f"The range is {origin_words(estimate)}.")
    return Content("\n").join([*(literal(line) for line in lines), Content("")])


def reasons(plan: MemoryPlan) -> Content:
    """The planner's choices with reasons, and suggestions where nothing fits."""
    lines = [Content.styled("Planned", "bold")]
    lines += [literal(f"  {each.name}: {each.value} ({each.reason})") for each in plan.choices]
    if plan.suggestions:
        lines.append(Content.styled("Suggestions", f"bold {STYLES['too big']}"))
        lines += [literal(f"  {suggestion.words}") for suggestion in plan.suggestions]
    return Content("\n").join([*lines, Content("")])

"""The memory table: what a run takes in each precision, and whether that fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.models.stored import stored_words
from tuner_tui.planning.estimate import Estimate
from tuner_tui.planning.place import (
    GB,
    PRECISIONS,
    UNCOUNTED,
    Place,
    Rows,
    Verdict,
    is_applicable,
    is_stored,
    loaded_precision,
)
from tuner_tui.planning.planner import Trial, best_of, fastest, precisions
from tuner_tui.planning.refusals import refusal_of
from tuner_tui.planning.shape import ModelShape, shape_of
from tuner_tui.planning.states import trains_nothing
from tuner_tui.planning.workload import LoadedAs, Workload

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts

NOTHING_TRAINED = "tuning.targets names no module of this model, so nothing would be trained"


@dataclass(frozen=True)
class MemoryRow:
    """One precision."""

    loaded_as: LoadedAs
    estimate: Estimate
    load: Workload
    verdict: Verdict
    over_bytes: int = 0
    """Bytes by which the expected memory, or the least where only a range is known, exceeds the available."""

    @property
    def words(self) -> str:
        """The verdict as text: fits, tight (an unlucky batch may not fit), or too big by some GB."""
        if self.verdict == "too big":
            more = "" if self.estimate.has_figure else " or more"
            return f"too big by {self.over_bytes / GB:.1f} GB{more}"
        return "" if self.verdict == "unknown" else self.verdict


@dataclass(frozen=True)
class MemoryTable:
    """The precisions that a run could take, the chosen one marked."""

    rows: tuple[MemoryRow, ...]
    chosen: LoadedAs
    note: str = ""
    """Why it is unknown or uncertain; empty if it is neither."""
    hint: str = ""
    """What to do where there are no figures; may be empty."""

    def row(self, loaded_as: LoadedAs) -> MemoryRow | None:
        """One precision's row."""
        return next((row for row in self.rows if row.loaded_as == loaded_as), None)

    @property
    def chosen_row(self) -> MemoryRow | None:
        """The row of the precision that the run would take."""
        return self.row(self.chosen)


def memory_table(
    spec: RunSpec, facts: ModelFacts | None, place: Place, rows: Rows = UNCOUNTED
) -> MemoryTable:
    """The memory of a run in each precision that its tuning allows, with the chosen one marked."""
    chosen = loaded_precision(spec, place)
    if facts is None:
        return MemoryTable((), chosen, "unknown, since the model could not be read")
    refusal = refusal_of(spec, facts, rows)
    if refusal is not None and not refusal.has_figures:
        return MemoryTable((), chosen, refusal.why, refusal.hint)
    shape = shape_of(facts)
    if shape is None:
        return MemoryTable((), chosen, missing_sizes(facts))
    if is_stored(facts) and not facts.weight_bytes:
        return MemoryTable(
            (), "stored", f"quantised with {facts.quantisation}, and its files do not state sizes"
        )
    offered: tuple[LoadedAs, ...] = ("stored",) if is_stored(facts) else PRECISIONS
    trials = {
        loaded_as: fastest(spec, shape, facts, place, rows, loaded_as)
        for loaded_as in offered
        if loaded_as == "stored"
        or (is_applicable(loaded_as, spec) and (facts.can_be_quantised or loaded_as not in ("int8", "nf4")))
    }
    chosen = best_of([trials[loaded_as] for loaded_as in precisions(spec, facts, place)]).load.loaded_as
    rows_by_precision = tuple(_row(loaded_as, trial, place) for loaded_as, trial in trials.items())
    notes = [*_notes(facts, shape, trials[chosen].load), *([refusal.why] if refusal else [])]
    return MemoryTable(rows_by_precision, chosen, "; ".join(notes))


def _row(loaded_as: LoadedAs, trial: Trial, place: Place) -> MemoryRow:
    estimate = trial.estimate
    expected = estimate.likely if estimate.has_figure else estimate.low
    over = expected - (place.room_bytes or 0) if trial.verdict == "too big" else 0
    return MemoryRow(loaded_as, trial.estimate, trial.load, trial.verdict, max(0, over))


def _notes(facts: ModelFacts, shape: ModelShape, load: Workload) -> Iterator[str]:
    """What makes the figures uncertain, and how a quantised base is loaded."""
    if facts.read_at_commit:
        yield f"from the cache, at commit {facts.read_at_commit[:12]}: the Hub is unreachable"
    if facts.header_problem:
        yield f"{facts.header_problem}: sizes from config.json only, wide range"
    elif shape.doubt:
        yield f"{shape.doubt}: wide range"
    elif not shape.is_known:
        yield f"{facts.model_type or 'this architecture'}: activations unknown, wide range"
    if trains_nothing(shape, load):
        yield NOTHING_TRAINED
    if facts.quantisation:
        yield stored_words(facts.quantisation)


def missing_sizes(facts: ModelFacts) -> str:
    """Which of a config's sizes keep a model from being estimated."""
    needed = {
        "hidden size": facts.hidden_size, "layers": facts.layers, "heads": facts.heads, "head size": facts.head_dim,
        "feed-forward size": facts.intermediate_size or facts.expert_intermediate_size, "vocabulary": facts.vocab_size,
    }  # fmt: skip
    if facts.experts:
        needed["experts per token"] = facts.experts_per_token
    missing = [name for name, value in needed.items() if not value]
    if missing:
        return f"config.json does not say: {', '.join(missing)}"
    return "the sizes in config.json are inconsistent, or do not match the weights"

"""Proposals for a goal on this machine: model, data, method, tuning and settings, each with its reason, ranked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner_tui.config.goals import recipe_spec
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.planning.place import Place, Rows
from tuner_tui.planning.plan import make_plan
from tuner_tui.planning.planner import MemoryPlan, plan_memory
from tuner_tui.planning.run_time import Outlook, outlook_of
from tuner_tui.planning.states import trains_nothing
from tuner_tui.text import count, counted, listed, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner_tui.config.goals import Goal, GoalRecipe
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.planning.candidates import Candidate
    from tuner_tui.planning.place import Verdict

WAITS = ((3600.0, "an hour"), (10 * 3600.0, "a night"), (24 * 3600.0, "a day"))
"""How long a person waits: within each of these the largest model comes first."""
MOST_ALIKE = 2
"""Models of one size that are shown."""
OF_ROWS = ("rows", "length")
"""Choices of the plan that depend on the rows, which are not chosen yet."""
FIT_WORDS: dict[Verdict, str] = {
    "fits": "fits here",
    "tight": "tight here",
    "too big": "too big here",
    "unknown": "",
}
_ORDER: dict[Verdict, int] = {"fits": 0, "tight": 1, "unknown": 2, "too big": 3}


@dataclass(frozen=True)
class Reason:
    """One thing that is proposed, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class Proposal:
    """A run for a goal, that starts once data are chosen."""

    goal: Goal
    recipe: GoalRecipe
    model: Candidate
    spec: RunSpec
    memory: MemoryPlan
    outlook: Outlook
    rows: int | None = None
    """Rows of the data, if they are known."""

    @property
    def verdict(self) -> Verdict:
        return self.memory.verdict

    @property
    def how(self) -> str:
        """Method, tuning and precision."""
        return f"{self.spec.method.kind}, {self.spec.tuning.kind}, {self.memory.loaded_as}"

    @property
    def time_words(self) -> str:
        """How long it takes, with where that is from: measured here, or by arithmetic; empty if unknown."""
        if self.outlook.is_measured or not self.time_in_short:
            return self.time_in_short
        return self.outlook.rough_words or f"{self.time_in_short}, by arithmetic"

    @property
    def time_in_short(self) -> str:
        """How long it takes, without where that is from."""
        outlook = self.outlook
        return outlook.words or outlook.rough_range or ("" if outlook.rough is None else "under 2 min")

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All that is proposed, in the order of a run's steps."""
        return tuple(_reasons(self))


@dataclass(frozen=True)
class Proposals:
    """What is proposed for a goal, the best first; the demo's model is last."""

    goal: Goal
    place: Place
    items: tuple[Proposal, ...]
    too_big: int = 0
    """Models of which nothing fits."""
    left_out: int = 0
    """Proposals that fit, and are much like better ones."""
    notes: tuple[str, ...] = ()
    """What speaks against it with the data at hand."""


def propose(
    goal: Goal, candidates: Sequence[Candidate], place: Place, *, data: str, rows: int | None = None
) -> Proposals:
    """Proposals for a goal at a place: those that fit, by the time that they take, and by the model's size.

    `data` is what data.train says; `rows` their number, if it is known: else the goal's usual one is assumed.
    """
    items: list[Proposal] = []
    too_big = 0
    for candidate in candidates:
        made = [
            proposal
            for recipe in goal.recipes
            if (proposal := _proposal(goal, recipe, candidate, place, data, rows)) is not None
        ]
        fitting = [proposal for proposal in made if proposal.verdict != "too big" or candidate.is_demo]
        too_big += bool(made) and not fitting
        items += fitting
    notes = () if rows is None or rows >= goal.fewest_rows else (_few_words(goal, rows),)
    ranked = sorted(items, key=_rank)
    chosen = _spread(ranked)
    return Proposals(goal, place, tuple(chosen), too_big, len(ranked) - len(chosen), notes)


def _spread(ranked: Sequence[Proposal]) -> list[Proposal]:
    """The best of each size and recipe, so that a small model is offered, too; the demo's always."""
    taken: Counter[tuple[int, str, str]] = Counter()
    chosen = []
    for proposal in ranked:
        recipe = proposal.recipe
        key = (size_class(proposal.model.parameters), recipe.method, recipe.tuning)
        is_first = recipe is proposal.goal.recipes[0]
        if proposal.model.is_demo or taken[key] < (MOST_ALIKE if is_first else 1):
            chosen.append(proposal)
            taken[key] += 1
    return chosen


def fit_of(spec: RunSpec, facts: ModelFacts | None, place: Place) -> Verdict:
    """Whether a run fits at a place, as far as its model is known."""
    plan = plan_memory(spec, facts, place) if facts is not None else None
    return "unknown" if plan is None else plan.verdict


def _proposal(
    goal: Goal, recipe: GoalRecipe, candidate: Candidate, place: Place, data: str, rows: int | None
) -> Proposal | None:
    spec = recipe_spec(recipe, candidate.named, data)
    context = candidate.facts.context_length
    if context is not None and context < spec.training.max_length:
        training = spec.training.model_copy(update={"max_length": context})
        spec = spec.model_copy(update={"training": training})
    assumed = Rows(count=rows or goal.usual_rows, sample=(goal.usual_tokens,))
    memory = plan_memory(spec, candidate.facts, place, replace(assumed, longest=None))
    if memory is None or trains_nothing(memory.estimate.shape, memory.load):
        return None
    shape = memory.estimate.shape
    outlook = outlook_of(spec, memory.load, assumed, place.measured, candidate.source.name, shape=shape)
    return Proposal(goal, recipe, candidate, spec, memory, outlook, rows)


def guessed_seconds(outlook: Outlook) -> float | None:
    """One number for a run's time: as measured, else the geometric mean of the range by arithmetic."""
    if outlook.seconds is not None or outlook.rough is None:
        return outlook.seconds
    return math.sqrt(max(1.0, outlook.rough[0]) * max(1.0, outlook.rough[1]))


def wait_of(seconds: float | None) -> int:
    """Within which of `WAITS` a time is."""
    known = math.inf if seconds is None else seconds
    return sum(known > most for most, _ in WAITS)


def _rank(proposal: Proposal) -> tuple[object, ...]:
    """Sorts by fit and wait; then models that are good at it, the larger first, and those on this machine.

    Beyond the longest wait the quicker comes first.
    """
    model, goal = proposal.model, proposal.goal
    seconds = guessed_seconds(proposal.outlook)
    wait = wait_of(seconds)
    matches = len(set(goal.wants) & set(model.good_at))
    return (
        model.is_demo,
        _ORDER[proposal.verdict],
        wait,
        bool(model.good_at) and not matches,
        seconds or 0.0 if wait == len(WAITS) else -size_class(model.parameters),
        -matches,
        not model.is_here,
        bool(model.gated),
        goal.recipes.index(proposal.recipe),
        seconds or 0.0,
        model.named,
    )


def size_class(parameters: int | None) -> int:
    """Models of one class differ little for their size: each class begins some 1.4 times above the one before."""
    return round(2 * math.log2(parameters)) if parameters else 0


def _few_words(goal: Goal, rows: int) -> str:
    return (
        f"{counted(rows, 'row is', 'rows are')} few: with fewer than {goal.fewest_rows} it rarely works. "
        "Try a system prompt first, or collect more."
    )


def _reasons(proposal: Proposal) -> Iterator[Reason]:
    goal, recipe, model, spec = proposal.goal, proposal.recipe, proposal.model, proposal.spec
    yield Reason("model", model.source.name, _model_why(proposal))
    yield Reason("data", goal.data, goal.data_why)
    yield Reason("method", f"{spec.method.kind} ({method_traits(spec.method.kind).title})", recipe.method_why)
    yield Reason("tuning", f"{spec.tuning.kind} ({tuning_traits(spec.tuning.kind).title})", recipe.tuning_why)
    for setting in recipe.set:
        value, why = str(setting.value), setting.why
        if setting.key == "training.max_length" and setting.value != spec.training.max_length:
            value, why = str(spec.training.max_length), "the model's context length"
        yield Reason(setting.key, value, why)
    for choice in make_plan(spec, model.source, memory=proposal.memory).choices:
        if choice.name in OF_ROWS:
            continue
        yield Reason(choice.name, choice.value, choice.reason)
    if proposal.time_words:
        rows = counted(proposal.rows or goal.usual_rows, "row")
        doubt = "" if proposal.rows else ", until you choose data"
        yield Reason("time", proposal.time_words, f"for {rows} of some {goal.usual_tokens} tokens{doubt}")


def _model_why(proposal: Proposal) -> str:
    model, goal = proposal.model, proposal.goal
    if model.is_demo:
        return "to try the steps: it is small, and trains in minutes on any machine"
    good = [word for word in goal.wants if word in model.good_at]
    parts = [
        f"{count(model.parameters)} parameters" if model.parameters else "",
        f"good at {listed(good)}" if good else "",
        f"licence {model.licence}",
        "gated: accept its terms on the Hub first" if model.gated else "",
        f"context of {model.facts.context_length:,} tokens" if model.facts.context_length else "",
        "on this machine" if model.is_here else f"to download: about {size(model.download_bytes)}",
    ]
    return ", ".join(filter(None, parts))

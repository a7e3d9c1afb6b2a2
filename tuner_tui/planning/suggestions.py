"""What to change where no run fits: at most four ways, cheapest first, each with what it saves and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import DEFAULT_TUNING, tuning_traits
from tuner_tui.planning.calibration import estimate_here
from tuner_tui.planning.place import (
    GB,
    PRECISIONS,
    Place,
    Rows,
    is_applicable,
    judge,
    loaded_precision,
    with_rows,
    workload_of,
)
from tuner_tui.planning.workload import OptimizerKind, Workload

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.planning.estimate import Estimate
    from tuner_tui.planning.shape import ModelShape

MOST_SUGGESTIONS = 4
ADAPTER = DEFAULT_TUNING
"""The tuning that is suggested where full tuning does not fit."""
LEAST_SAVED_BYTES = 50_000_000
"""What saves less is not worth a word."""
_PRECISION = frozenset(("model.precision", "tuning.kind"))


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """Something to change where nothing fits."""

    key: str
    """The option that it changes; empty where it is no option."""
    value: str
    words: str
    """What to do, what it saves and what it costs."""
    also: tuple[tuple[str, str], ...] = ()
    """Options that change with it, and their values."""


@dataclass(frozen=True)
class _Change:
    settings: tuple[tuple[str, Any], ...]
    words: str
    cost: str

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self.settings)


def suggest(
    spec: RunSpec, shape: ModelShape, facts: ModelFacts, load: Workload, place: Place, rows: Rows
) -> list[Suggestion]:
    """At most four changes that make a run fit, cheapest first; together where none does alone.

    `load` is the step that takes least by what the spec sets.
    """
    changes = list(_changes(spec, facts, load, rows))

    def after(*taken: _Change) -> Estimate:
        changed = _changed_load(spec, [each for each in changes if each in taken], load, place, rows)
        return estimate_here(shape, changed, facts, spec, place)

    now = after()
    saved = {change: now.likely - after(change).likely for change in changes}
    useful = [change for change in changes if saved[change] >= LEAST_SAVED_BYTES]
    alone = [change for change in useful if judge(after(change), place) != "too big"]
    if alone:
        return [
            _suggestion(change, saved[change], _ending(after(change), place))
            for change in alone[:MOST_SUGGESTIONS]
        ]
    together = _together(useful, saved, lambda taken: judge(after(*taken), place) != "too big")
    found = after(*together)
    ordered = [change for change in useful if change in together]
    if judge(found, place) != "too big":
        ending = _ending(found, place)
        return [
            _suggestion(change, saved[change], ending if change is ordered[-1] else "", before="together: ")
            for change in ordered
        ]
    short = (found.likely - (place.room_bytes or 0)) / GB
    more = f"with all of it still {short:.1f} GB short: take a smaller model, or a GPU with more memory"
    told = [_suggestion(change, saved[change]) for change in ordered[: MOST_SUGGESTIONS - 1]]
    return [*told, Suggestion(key="model.source", value="", words=more)]


def _together(
    useful: list[_Change], saved: dict[_Change, int], does_fit: Callable[[list[_Change]], bool]
) -> list[_Change]:
    """Those that save most, one after the other until it fits, less those that it fits without.

    None changes what another has changed already.
    """
    taken: list[_Change] = []
    for change in sorted(useful, key=lambda each: -saved[each]):
        if len(taken) < MOST_SUGGESTIONS and not any(change.keys & each.keys for each in taken):
            taken.append(change)
            if does_fit(taken):
                break
    else:
        return taken
    for change in tuple(taken):
        without = [each for each in taken if each is not change]
        if does_fit(without):
            taken = without
    return taken


def _suggestion(change: _Change, saved: int, ending: str = "", *, before: str = "") -> Suggestion:
    (key, value), *also = ((key, str(value).lower()) for key, value in change.settings)
    words = f"{before}{change.words}: -{saved / GB:.1f} GB, {change.cost}{ending}"
    return Suggestion(key=key, value=value, words=words, also=tuple(also))


def _ending(estimate: Estimate, place: Place) -> str:
    return "; then tight" if judge(estimate, place) == "tight" else ""


def _changed_load(spec: RunSpec, taken: list[_Change], load: Workload, place: Place, rows: Rows) -> Workload:
    """The step of a spec with some changes; what they leave open stays as `load` has it."""
    asked, loaded_as = spec, load.loaded_as
    for change in taken:
        for key, value in change.settings:
            asked = _with_setting(asked, key, value)
        if change.keys & _PRECISION:
            loaded_as = loaded_precision(asked, place)
    training = asked.training
    switch = load.checkpointing if training.checkpointing == "auto" else training.checkpointing
    changed = workload_of(asked, place, rows, loaded_as=loaded_as)
    return with_rows(changed, asked, training.micro_batch or load.rows, switch)


def _with_setting(spec: RunSpec, key: str, value: Any) -> RunSpec:
    from tuner_tui.config.sections import kinds_of

    section, _, name = key.partition(".")
    if key == "tuning.kind":
        return spec.model_copy(update={"tuning": kinds_of("tuning")[value]()})
    return spec.model_copy(update={section: getattr(spec, section).model_copy(update={name: value})})


def _changes(spec: RunSpec, facts: ModelFacts, load: Workload, rows: Rows) -> Iterator[_Change]:
    """What could be changed, cheapest first."""
    is_full, has_other_precisions = load.trains_base, not facts.quantisation
    if load.checkpointing == "off":
        yield _one("training.checkpointing", "on", "recomputing activations", "about a quarter slower")
    least = method_traits(spec.method.kind).fewest_rows
    if load.rows > least:
        yield _one(
            "training.micro_batch", least, f"micro-batch {least} instead of {load.rows}", "a little slower"
        )
    larger = has_other_precisions and load.loaded_as in PRECISIONS and load.loaded_as != "nf4"
    if larger and is_applicable("nf4", spec):
        yield _one("model.precision", "nf4", f"4-bit instead of {load.loaded_as}", "a little quality")
    if is_full and getattr(spec.method, "precompute_reference", None) is False:
        words = "method.precompute_reference = true"
        yield _one("method.precompute_reference", True, words, "one pass over all rows first")
    if is_full and load.loaded_as == "fp32" and load.autocast:
        yield _one("model.precision", "bf16", "bf16 instead of fp32", "small updates are rounded away")
    if load.optimizer == "adamw" and is_full:
        kind: OptimizerKind = "paged_adamw_8bit" if load.is_gpu else "adamw_8bit"
        yield _one("training.optimizer", kind, f"{kind} instead of adamw", "hardly any quality")
    length = max(64, load.length // 2)
    if length < load.length:
        share = rows.share_over(length)
        cost = "truncates longer rows" if share is None else f"truncates {100 * share:.0f} % of your rows"
        yield _one("training.max_length", length, f"length {length} instead of {load.length}", cost)
    if is_full:
        title = tuning_traits(ADAPTER).title
        yield _one("tuning.kind", ADAPTER, f"{title} instead of full tuning", "learns a little less")
        if has_other_precisions:
            settings = (("tuning.kind", ADAPTER), ("model.precision", "nf4"))
            yield _Change(settings, f"{title} on a 4-bit base instead of full tuning", "learns a little less")


def _one(key: str, value: Any, words: str, cost: str) -> _Change:
    return _Change(((key, value),), words, cost)

"""Suggestions for a run that does not fit: at most four changes, cheapest first, with savings and costs."""

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
"""Changes that save less are not suggested."""
_PRECISION = frozenset(("model.precision", "tuning.kind"))


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A change that helps a run to fit."""

    key: str
    """The option that it changes; empty if it is not an option."""
    value: str
    words: str
    """The change, what it saves and what it costs."""
    also: tuple[tuple[str, str], ...] = ()
    """Other options that change with it, and their values."""


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
    """At most four changes that make a run fit, cheapest first; combined if no single one is enough.

    `load` is the step with the least memory that the spec allows.
    """
    changes = list(_changes(spec, facts, load, rows, can_checkpoint=shape.can_checkpoint))

    def after(*taken: _Change) -> Estimate:
        changed = _changed_load(spec, [change for change in changes if change in taken], load, place, rows)
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
    combined = after(*together)
    ordered = [change for change in useful if change in together]
    if judge(combined, place) != "too big":
        ending = _ending(combined, place)
        return [
            _suggestion(change, saved[change], ending if change is ordered[-1] else "", before="together: ")
            for change in ordered
        ]
    short = (combined.likely - (place.room_bytes or 0)) / GB
    more = f"with all of them still {short:.1f} GB short: use a smaller model, or a GPU with more memory"
    partial = [_suggestion(change, saved[change]) for change in ordered[: MOST_SUGGESTIONS - 1]]
    return [*partial, Suggestion(key="model.source", value="", words=more)]


def _together(
    useful: list[_Change], saved: dict[_Change, int], does_fit: Callable[[list[_Change]], bool]
) -> list[_Change]:
    """Changes with the largest savings until the run fits, without those that turn out not to be needed.

    No two of them change the same option.
    """
    taken: list[_Change] = []
    for change in sorted(useful, key=lambda candidate: -saved[candidate]):
        if len(taken) < MOST_SUGGESTIONS and not any(change.keys & other.keys for other in taken):
            taken.append(change)
            if does_fit(taken):
                break
    else:
        return taken
    for change in tuple(taken):
        without = [other for other in taken if other is not change]
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
    """The step of a spec with some changes; other settings stay as in `load`."""
    changed_spec, loaded_as = spec, load.loaded_as
    for change in taken:
        for key, value in change.settings:
            changed_spec = _with_setting(changed_spec, key, value)
        if change.keys & _PRECISION:
            loaded_as = loaded_precision(changed_spec, place)
    training = changed_spec.training
    switch = load.checkpointing if training.checkpointing == "auto" else training.checkpointing
    changed = workload_of(changed_spec, place, rows, loaded_as=loaded_as)
    return with_rows(changed, changed_spec, training.micro_batch or load.rows, switch)


def _with_setting(spec: RunSpec, key: str, value: Any) -> RunSpec:
    from tuner_tui.config.sections import kinds_of

    section, _, name = key.partition(".")
    if key == "tuning.kind":
        return spec.model_copy(update={"tuning": kinds_of("tuning")[value]()})
    return spec.model_copy(update={section: getattr(spec, section).model_copy(update={name: value})})


def _changes(
    spec: RunSpec, facts: ModelFacts, load: Workload, rows: Rows, *, can_checkpoint: bool
) -> Iterator[_Change]:
    """Possible changes, cheapest first."""
    is_full = load.trains_base
    if load.checkpointing == "off" and can_checkpoint:
        yield _one("training.checkpointing", "on", "recomputing activations", "about a quarter slower")
    least = method_traits(spec.method.kind).fewest_rows
    if load.rows > least:
        yield _one(
            "training.micro_batch", least, f"micro-batch {least} instead of {load.rows}", "a little slower"
        )
    larger = facts.can_be_quantised and load.loaded_as in PRECISIONS and load.loaded_as != "nf4"
    if larger and is_applicable("nf4", spec):
        yield _one("model.precision", "nf4", f"4-bit instead of {load.loaded_as}", "slightly lower quality")
    if is_full and getattr(spec.method, "precompute_reference", None) is False:
        words = "method.precompute_reference = true"
        yield _one("method.precompute_reference", True, words, "one pass over all rows first")
    if is_full and load.loaded_as == "fp32" and load.autocast:
        yield _one("model.precision", "bf16", "bf16 instead of fp32", "small updates are rounded away")
    if load.optimizer == "adamw" and is_full:
        kind: OptimizerKind = "paged_adamw_8bit" if load.is_gpu else "adamw_8bit"
        yield _one("training.optimizer", kind, f"{kind} instead of adamw", "almost the same quality")
    length = max(64, load.length // 2)
    if length < load.length:
        share = rows.share_over(length)
        cost = "truncates longer rows" if share is None else f"truncates {100 * share:.0f} % of your rows"
        yield _one("training.max_length", length, f"length {length} instead of {load.length}", cost)
    if is_full:
        title = tuning_traits(ADAPTER).title
        yield _one("tuning.kind", ADAPTER, f"{title} instead of full tuning", "a little less capacity")
        if facts.can_be_quantised:
            settings = (("tuning.kind", ADAPTER), ("model.precision", "nf4"))
            yield _Change(
                settings, f"{title} on a 4-bit base instead of full tuning", "a little less capacity"
            )


def _one(key: str, value: Any, words: str, cost: str) -> _Change:
    return _Change(((key, value),), words, cost)

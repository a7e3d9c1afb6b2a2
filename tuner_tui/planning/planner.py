"""From this model, these rows and this card to the settings of the fastest run that fits, and the ways out if none."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tuner_tui.models.stored import stored_refusal
from tuner_tui.planning.estimate import Estimate, estimate_memory
from tuner_tui.planning.measured import calibrate
from tuner_tui.planning.place import (
    GB,
    LARGEST_CPU_MICRO_BATCH,
    PRECISIONS,
    SEQUENCES,
    UNCOUNTED,
    Place,
    Rows,
    Verdict,
    default_micro_batch,
    held_by,
    is_applicable,
    is_stored,
    judge,
    with_rows,
    workload_of,
)
from tuner_tui.planning.shape import ModelShape, shape_of
from tuner_tui.planning.workload import Held, OptimizerKind, Workload

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts

FEWEST_ROWS = {"kto": 2}
"""Rows of a micro-batch at least, where a method compares them."""
MOST_TOKENS = 32_768
"""Beyond so many tokens at once a card is busy all the time, and more only takes memory."""
GPU_START_TOKENS, CPU_START_TOKENS = 1500, 40
"""What a micro-batch costs beside its tokens, in tokens: starting each operation."""
CPU_BUSY_TOKENS = 256
"""From so many tokens at once a CPU gains nothing more (tests/benchmarks/planner_speed.py)."""
CHECKPOINTING_COST = 1.3
PRECISION_COST: dict[Held, float] = {"fp32": 1.6, "bf16": 1.0, "nf4": 1.2, "int8": 1.6, "stored": 1.3}
"""Times the step's time, rough: relative speeds of the kinds of arithmetic on a card with 16-bit units."""
WORTH_GROUPING = 0.2
"""Padding from which on it is worth a word."""
MOST_WAYS = 4
Change = Callable[[Workload], Workload]


class WayOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something to change where nothing fits."""

    key: str
    """The option that it changes; empty where it is no option."""
    value: str
    words: str
    """What to do, what it saves and what it costs."""


@dataclass(frozen=True)
class PlannedChoice:
    """One setting of the plan, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class MemoryPlan:
    """The settings that memory decides."""

    held: Held
    micro_batch: int
    is_checkpointing: bool
    estimate: Estimate
    load: Workload
    verdict: Verdict
    choices: tuple[PlannedChoice, ...] = ()
    ways_out: tuple[WayOut, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One way to run, and how it would go."""

    load: Workload
    estimate: Estimate
    verdict: Verdict
    cost: float
    """Time for each token of a row, relative; what pads counts as time."""
    larger: Estimate | None = None
    """What the next larger micro-batch would take, where that is why it is not taken."""
    has_faster_small: bool = False
    """Whether larger ones fit too, and would not be faster."""


def plan_memory(
    spec: RunSpec, facts: ModelFacts | None, place: Place, rows: Rows = UNCOUNTED
) -> MemoryPlan | None:
    """The fastest run that fits, with what the spec sets respected; None where the model's sizes are not known.

    None too where its weights are quantised in a way that the spec cannot train on. Where only an unlucky batch may
    not fit, the least of those is taken and called tight; where nothing fits, the least of all with at most four ways
    out.
    """
    shape = shape_of(facts) if facts is not None else None
    if shape is None or facts is None:
        return None
    if stored_refusal(facts.quantisation, spec.model.precision, spec.tuning.kind):
        return None
    if is_stored(facts) and not facts.weight_bytes:
        return None
    trials = [fastest(spec, shape, facts, place, rows, held) for held in precisions(spec, facts, place)]
    best = best_of(trials)
    plan = MemoryPlan(
        best.load.held, best.load.rows, best.load.checkpointing == "on", best.estimate, best.load, best.verdict,
        tuple(_choices(spec, best, trials[0], place, rows)),
    )  # fmt: skip
    if best.verdict != "too big":
        return plan
    return replace(plan, ways_out=tuple(ways_out(spec, shape, facts, best.load, place, rows)))


def fastest(
    spec: RunSpec, shape: ModelShape, facts: ModelFacts, place: Place, rows: Rows, held: Held
) -> Trial:
    """The fastest way to run in one precision that fits, else the one that takes least."""

    whole = workload_of(spec, place, rows, held=held)

    def trial(micro: int, switch: Literal["on", "off"]) -> Trial:
        load = with_rows(whole, spec, micro, switch)
        estimate = estimate_memory(shape, load, facts.weight_bytes)
        if place.measured:
            estimate = calibrate(estimate, load, place.measured)
        return Trial(load, estimate, judge(estimate, place), cost(micro, switch))

    def cost(micro: int, switch: Literal["on", "off"]) -> float:
        load = with_rows(whole, spec, micro, switch)
        if not whole.varied:
            return _cost(load, place, load.tokens, 0.0)
        tokens = min(rows.mean or load.length, load.length) * load.sequences
        share = None if spec.training.group_by_length else rows.padding_share(load.sequences, load.length)
        return _cost(load, place, tokens, share or 0.0)

    sizes, asked = micro_batches(spec, place, rows), spec.training.checkpointing
    if place.room_bytes is None:  # nobody knows what is free: the careful defaults
        calm = [size for size in sizes if size <= default_micro_batch(spec, place)] or sizes[:1]
        return trial(calm[-1], asked if asked != "auto" else "on" if place.is_gpu else "off")
    switches: tuple[Literal["on", "off"], ...] = ("off", "on") if asked == "auto" else (asked,)
    found: list[Trial] = []
    for switch in switches:
        # more rows never take less, so those that fit come first
        number = bisect.bisect_left(sizes, True, key=lambda size: trial(size, switch).verdict != "fits")
        if number:
            size = min(sizes[:number], key=lambda each: round(cost(each, switch), 3))
            is_largest = size == sizes[number - 1]
            larger = trial(sizes[number], switch).estimate if is_largest and number < len(sizes) else None
            found.append(replace(trial(size, switch), larger=larger, has_faster_small=not is_largest))
    if found:
        return min(found, key=lambda each: (round(each.cost, 3), each.estimate.high))
    least = [trial(sizes[0], switch) for switch in switches]
    larger = trial(sizes[1], switches[-1]).estimate if len(sizes) > 1 else None
    return replace(min(least, key=lambda each: each.estimate.high), larger=larger)


def precisions(spec: RunSpec, facts: ModelFacts, place: Place) -> tuple[Held, ...]:
    """What the base may be held in: as asked; left open, 4 bit where 16 do not fit."""
    if is_stored(facts):
        return ("stored",)
    chosen = held_by(spec, place)
    if spec.model.precision != "auto" or facts.quantisation or not is_applicable("nf4", spec):
        return (chosen,)
    return (chosen, "nf4")


def micro_batches(spec: RunSpec, place: Place, rows: Rows = UNCOUNTED) -> list[int]:
    """Rows at once that divide the batch size, so that the effective batch stays as asked."""
    training, method = spec.training, spec.method.kind
    if training.micro_batch is not None:
        return [training.micro_batch]
    sequences, least = SEQUENCES.get(method, 1), FEWEST_ROWS.get(method, 1)
    length = min(rows.longest or training.max_length, training.max_length)
    most = MOST_TOKENS // max(1, length * sequences) if place.is_gpu else LARGEST_CPU_MICRO_BATCH // sequences
    divisors = [size for size in range(1, training.batch_size + 1) if training.batch_size % size == 0]
    fitting = [size for size in divisors if least <= size <= max(least, most)]
    return fitting or [next((size for size in divisors if size >= least), training.batch_size)]


def _cost(load: Workload, place: Place, tokens: float, padding: float) -> float:
    """Time per token of a row, against one of a large micro-batch without padding, in 16 bit, with kept activations.

    `tokens`: of the rows of a usual micro-batch; `padding`: the share of what is computed beside them.
    """
    if place.is_gpu:
        start = GPU_START_TOKENS / tokens
    else:
        start = CPU_START_TOKENS / min(tokens, CPU_BUSY_TOKENS)
    cost = (1 / (1 - padding) + start) * (CHECKPOINTING_COST if load.checkpointing == "on" else 1.0)
    return cost * (PRECISION_COST[load.held] if place.is_gpu else 1.0 + 0.1 * (load.held == "nf4"))


def best_of(trials: list[Trial]) -> Trial:
    """The first that fits: 4 bit comes only where 16 do not fit; else the first that is tight, else the least."""
    for verdict in ("fits", "unknown", "tight"):
        found = [each for each in trials if each.verdict == verdict]
        if found:
            return found[0]
    return min(trials, key=lambda each: each.estimate.high)


def _choices(spec: RunSpec, best: Trial, first: Trial, place: Place, rows: Rows) -> Iterator[PlannedChoice]:
    load, training = best.load, spec.training
    room = place.room_bytes
    of_room = (
        f"{best.estimate.likely / GB:.1f} of {room / GB:.1f} GB"
        if room is not None
        else "free memory unknown"
    )
    if load.held != first.load.held:
        reason = f"{first.load.held} does not fit; costs a little quality and speed"
        yield PlannedChoice("precision", load.held, reason)
    elif spec.model.precision == "auto":
        yield PlannedChoice("precision", load.held, _precision_reason(load, place))
    if training.micro_batch is None:
        steps = training.batch_size // load.rows
        if best.larger is not None and room is not None:
            reason = f"more at once could take {best.larger.high / GB:.1f} of {room / GB:.1f} GB"
        elif best.has_faster_small:
            reason = f"more at once is no faster: {of_room}"
        else:
            reason = (
                f"the whole batch at once: {of_room}" if steps == 1 else f"the most that is useful: {of_room}"
            )
        accumulated = f", {steps} times for a batch of {training.batch_size}" if steps > 1 else ""
        yield PlannedChoice("micro-batch", f"{load.rows} x {load.length} tokens{accumulated}", reason)
    if training.checkpointing == "auto":
        is_on = load.checkpointing == "on"
        reason = (
            "activations do not fit otherwise; about a quarter slower"
            if is_on
            else "activations fit, and it is faster"
        )
        if room is None:
            reason = "free memory unknown, so the sparing way" if is_on else "this is a CPU"
        yield PlannedChoice("checkpointing", "on" if is_on else "off", reason)
    if spec.model.attention == "auto":
        yield PlannedChoice("attention", "sdpa", "PyTorch's own fused attention, on every card")
    if spec.method.kind not in ("reward", "orpo", "cpo"):
        yield PlannedChoice("loss", "fused", "logits in tiles, never whole")
    states = best.estimate.parts.states
    yield PlannedChoice("optimizer", load.optimizer, f"as set; its states take {states / GB:.2f} GB")
    if (order := _order(spec, load, rows)) is not None:
        yield order
    if rows.longest is not None and rows.longest < training.max_length:
        yield PlannedChoice(
            "length", str(rows.longest), f"the longest row; the limit is {training.max_length}"
        )
    if best.verdict == "tight":
        yield PlannedChoice(
            "memory", "tight", f"{of_room}: an unlucky batch may not fit; the run then goes on smaller"
        )


def _precision_reason(load: Workload, place: Place) -> str:
    if load.held == "stored":
        return "as the model's files are packed"
    if load.held == "nf4":
        return "the least memory"
    if load.tuning == "full":
        return "weights that are trained stay in fp32, so that small steps are not rounded away"
    return "16 bit is fast here" if place.has_16_bit else "16 bit is slow here"


def _order(spec: RunSpec, load: Workload, rows: Rows) -> PlannedChoice | None:
    """Whether rows of like length stand together, and what that would save."""
    if getattr(spec.method, "packing", False):
        return PlannedChoice("rows", "packed", "as set; nothing is padded")
    share = rows.padding_share(load.sequences, spec.training.max_length)
    if share is None or load.rows == 1:
        return None
    if spec.training.group_by_length:
        return PlannedChoice(
            "rows", "of like length together", f"as set; saves most of {100 * share:.0f} % padding"
        )
    if share < WORTH_GROUPING or spec.method.kind == "kto":
        return PlannedChoice("rows", "in random order", f"padding is {100 * share:.0f} % of what is computed")
    more = f"padding is {100 * share:.0f} % of what is computed; training.group_by_length = true saves most of it"
    return PlannedChoice("rows", "in random order", more)


def ways_out(
    spec: RunSpec, shape: ModelShape, facts: ModelFacts, load: Workload, place: Place, rows: Rows
) -> list[WayOut]:
    """At most four changes that make a run fit, cheapest first; together where none does alone."""
    room, stored_bytes = place.room_bytes or 0, facts.weight_bytes
    now = estimate_memory(shape, load, stored_bytes)
    alone: list[WayOut] = []
    together: list[tuple[float, WayOut]] = []
    combined = load
    for key, value, changed, cost in _changes(spec, facts, load, rows):
        after = estimate_memory(shape, changed(load), stored_bytes)
        saved = (now.likely - after.likely) / GB
        if saved < 0.05:
            continue
        way = WayOut(key=key, value=value, words=f"{_named(key, value, load)}: -{saved:.1f} GB, {cost}")
        if after.low <= room:
            alone.append(way)
        if estimate_memory(shape, combined, stored_bytes).low > room:
            combined = changed(combined)
            together.append((saved, way))
    if alone:
        return alone[:MOST_WAYS]
    if together and estimate_memory(shape, combined, stored_bytes).low <= room:
        return [
            msgspec.structs.replace(way, words=f"together: {way.words}")
            for way in _largest(together, MOST_WAYS)
        ]
    short = (estimate_memory(shape, combined, stored_bytes).likely - room) / GB
    more = f"with all of it still {short:.1f} GB short: take a smaller model, or a card with more memory"
    return [*_largest(together, MOST_WAYS - 1), WayOut(key="model.source", value="", words=more)]


def _largest(ways: list[tuple[float, WayOut]], count: int) -> list[WayOut]:
    """Those that save most, in their order."""
    kept = sorted(saved for saved, _ in ways)[-count:]
    return [way for saved, way in ways if saved in kept][:count]


def _changes(
    spec: RunSpec, facts: ModelFacts, load: Workload, rows: Rows
) -> Iterator[tuple[str, str, Change, str]]:
    """(option, value, change of the workload, what it costs), cheapest first."""
    if load.checkpointing == "off":
        yield "training.checkpointing", "on", _with(checkpointing="on"), "about a quarter slower"
    least = FEWEST_ROWS.get(spec.method.kind, 1)
    if load.rows > least:
        yield (
            "training.micro_batch",
            str(least),
            _with(rows=least, accumulates=True, padded=False),
            "a little slower",
        )
    if (
        load.tuning == "lora"
        and not facts.quantisation
        and load.held in PRECISIONS
        and load.held != "nf4"
        and is_applicable("nf4", spec)
    ):
        yield "model.precision", "nf4", _with(held="nf4"), "a little quality"
    if not getattr(spec.method, "precompute_reference", True) and load.tuning == "full":
        yield (
            "method.precompute_reference",
            "true",
            _with(precomputed_reference=True),
            "one pass over all rows first",
        )
    if load.tuning == "full" and load.held == "fp32" and load.autocast:
        yield "model.precision", "bf16", _with(held="bf16", autocast=False), "small steps are rounded away"
    if load.optimizer == "adamw" and load.tuning == "full":
        kind: OptimizerKind = "paged_adamw_8bit" if load.is_gpu else "adamw_8bit"
        yield "training.optimizer", kind, _with(optimizer=kind), "hardly any quality"
    length = max(64, load.length // 2)
    if length < load.length:
        share = rows.share_over(length)
        cost = "cuts rows that are longer" if share is None else f"cuts {100 * share:.0f} % of your rows"
        yield "training.max_length", str(length), _with(length=length), cost
    if load.tuning == "full":
        yield "tuning.kind", "lora", _lora, "learns a little less"
    if load.tuning == "full" and not facts.quantisation:
        yield "model.precision", "nf4", lambda each: replace(_lora(each), held="nf4"), "learns a little less"


def _with(**fields: Any) -> Change:
    return lambda load: replace(load, **fields)


def _lora(load: Workload) -> Workload:
    return replace(load, tuning="lora", held="bf16" if load.autocast else load.held, adapter_bytes=4)


def _named(key: str, value: str, load: Workload) -> str:
    match key:
        case "model.precision" if value == "bf16":
            return f"bf16 instead of {load.held}"
        case "model.precision" if load.tuning == "full":
            return "LoRA on a 4-bit base instead of full tuning"
        case "model.precision":
            return f"4-bit instead of {load.held}"
        case "training.checkpointing":
            return "computing activations again"
        case "training.micro_batch":
            return f"micro-batch {value} instead of {load.rows}"
        case "training.max_length":
            return f"length {value} instead of {load.length}"
        case "tuning.kind":
            return "LoRA instead of full tuning"
        case "training.optimizer":
            return f"{value} instead of {load.optimizer}"
    return f"{key} = {value}"

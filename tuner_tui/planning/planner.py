"""Finds the settings of the fastest run that fits, from model, rows and GPU; or suggestions if none fits."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

from tuner_tui.config.methods import own_options
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.planning.calibration import estimate_here
from tuner_tui.planning.checkpointing import checkpoints_activations
from tuner_tui.planning.choices import CONCURRENT
from tuner_tui.planning.cpu_steps import step_cost, token_cost
from tuner_tui.planning.estimate import Estimate
from tuner_tui.planning.micro_batch import LARGEST_CPU_MICRO_BATCH
from tuner_tui.planning.place import (
    GB,
    UNCOUNTED,
    Place,
    Rows,
    Verdict,
    default_micro_batch,
    is_applicable,
    is_stored,
    judge,
    loaded_precision,
    with_rows,
    workload_of,
)
from tuner_tui.planning.precision import KEPT_FP32
from tuner_tui.planning.refusals import refusal_of
from tuner_tui.planning.shape import ModelShape, shape_of
from tuner_tui.planning.suggestions import Suggestion, suggest
from tuner_tui.planning.workload import LoadedAs, Workload
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts

MOST_TOKENS = 32_768
"""Tokens per micro-batch from which a GPU is fully busy; more only take memory."""
MOST_MASKED_TOKENS = 4096
"""Tokens per micro-batch of packed rows without flash attention, which computes all pairs of them and masks most."""
GPU_START_TOKENS = 1500
"""Fixed cost of a micro-batch, in tokens: launching the operations."""
CHECKPOINTING_COST = 1.3
PRECISION_COST: dict[LoadedAs, float] = {"fp32": 1.6, "bf16": 1.0, "nf4": 1.2, "int8": 1.6, "stored": 1.3}
"""Rough relative step times of the precisions on a GPU with 16-bit units."""
WORTH_GROUPING = 0.2
"""Share of padding from which rows are grouped by length."""
FEWEST_BATCHES = 50
"""Number of batches from which the order stays random: grouping sorts within this many (transformers' sampler)."""


@dataclass(frozen=True)
class PlannedChoice:
    """One setting of the plan, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class MemoryPlan:
    """The settings that the memory plan decides."""

    loaded_as: LoadedAs
    micro_batch: int
    is_checkpointing: bool
    estimate: Estimate
    load: Workload
    verdict: Verdict
    is_grouped: bool = False
    """Whether rows are grouped by length."""
    is_sorted: bool = False
    """Whether each step's rows are sorted by length into micro-batches."""
    choices: tuple[PlannedChoice, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One set of settings with its estimate."""

    load: Workload
    estimate: Estimate
    verdict: Verdict
    cost: float
    """Relative time per token of a row, padding included."""
    larger: Estimate | None = None
    """The estimate of the next larger micro-batch, if its memory is why it was not chosen."""
    has_faster_small: bool = False
    """Whether larger ones fit too, but would not be faster."""


def plan_memory(
    spec: RunSpec, facts: ModelFacts | None, place: Place, rows: Rows = UNCOUNTED
) -> MemoryPlan | None:
    """The settings of the fastest run that fits, with the spec's own settings unchanged; None if the model's sizes are
    unknown, or if it cannot be trained as the spec says.

    If only an unlucky batch may not fit, the settings with the least memory are chosen and called tight. If nothing
    fits, those with the least memory, with at most four suggestions.
    """
    shape = shape_of(facts) if facts is not None else None
    if shape is None or facts is None:
        return None
    refusal = refusal_of(spec, facts, rows)
    if refusal is not None and not refusal.has_figures:
        return None
    if is_stored(facts) and not facts.weight_bytes:
        return None
    trials = [
        fastest(spec, shape, facts, place, rows, loaded_as) for loaded_as in precisions(spec, facts, place)
    ]
    best = best_of(trials)
    plan = MemoryPlan(
        best.load.loaded_as, best.load.rows, best.load.checkpointing == "on", best.estimate, best.load, best.verdict,
        is_grouped(spec, best.load, rows), is_sorted(spec, best.load),
        tuple(_choices(spec, best, trials[0], place, rows)),
    )  # fmt: skip
    if best.verdict != "too big":
        return plan
    return replace(plan, suggestions=tuple(suggest(spec, shape, facts, best.load, place, rows)))


def fastest(
    spec: RunSpec, shape: ModelShape, facts: ModelFacts, place: Place, rows: Rows, loaded_as: LoadedAs
) -> Trial:
    """The fastest settings in one precision that fit, else those with the least memory."""

    unsplit = workload_of(spec, place, rows, loaded_as=loaded_as)

    def load_of(micro: int, switch: Literal["on", "off"], most: int) -> Workload:
        return with_rows(unsplit, spec, micro, switch, min(most, max(1, spec.training.batch_size // micro)))

    def trial(micro: int, switch: Literal["on", "off"], most: int = 1) -> Trial:
        load = load_of(micro, switch, most)
        estimate = estimate_here(shape, load, facts, spec, place)
        return Trial(load, estimate, judge(estimate, place), cost(micro, switch, most))

    def cost(micro: int, switch: Literal["on", "off"], most: int = 1) -> float:
        return _cost(load_of(micro, switch, most), spec, place, rows)

    sizes, checkpointing = micro_batches(spec, place, rows), spec.training.checkpointing
    if place.room_bytes is None:  # free memory is unknown: conservative defaults
        calm = [size for size in sizes if size <= default_micro_batch(spec, place)] or sizes[:1]
        is_on = shape.can_checkpoint and checkpoints_activations(checkpointing, is_gpu=place.is_gpu)
        return trial(calm[-1], "on" if is_on else "off")
    switches: tuple[Literal["on", "off"], ...] = (
        ("off", "on") if checkpointing == "auto" else (checkpointing,)
    )
    if not shape.can_checkpoint:
        switches = ("off",)
    fitting: list[Trial] = []
    for switch, most in product(switches, most_at_a_time(spec, place)):
        # more rows never take less, so those that fit come first
        number = bisect.bisect_left(sizes, True, key=lambda size: trial(size, switch, most).verdict != "fits")
        if number:
            size = min(sizes[:number], key=lambda rows_at_once: round(cost(rows_at_once, switch, most), 3))
            is_largest = size == sizes[number - 1]
            larger = (
                trial(sizes[number], switch, most).estimate if is_largest and number < len(sizes) else None
            )
            fitting.append(replace(trial(size, switch, most), larger=larger, has_faster_small=not is_largest))
    if fitting:
        return min(fitting, key=lambda trial: (round(trial.cost, 3), trial.estimate.high))
    least = [trial(sizes[0], switch) for switch in switches]
    larger = trial(sizes[1], switches[-1]).estimate if len(sizes) > 1 else None
    return replace(min(least, key=lambda trial: trial.estimate.high), larger=larger)


def most_at_a_time(spec: RunSpec, place: Place) -> tuple[int, ...]:
    """How many micro-batches may be computed at the same time: one for each thread of a CPU, or fewer."""
    wanted = spec.machine.concurrent_micro_batches
    if wanted is not None:
        return (1 if place.is_gpu else wanted,)
    # each of them has its own gradients, which are as large as the model where that is trained itself
    if place.is_gpu or not tuning_traits(spec.tuning.kind).is_adapter:
        return (1,)
    at_once = spec.machine.threads or place.threads
    offered = [at_once]
    while offered[-1] > 1:
        offered.append(offered[-1] // 2)
    return tuple(offered)


def _padding(spec: RunSpec, load: Workload, rows: Rows) -> float:
    """Share of padding in micro-batches of rows as they come, or sorted by length; 0 where it is unknown."""
    if spec.training.group_by_length is True:
        return 0.0
    if is_sorted(spec, load):
        of = spec.training.batch_size * load.method_traits.sequences_per_row
        return rows.sorted_padding_share(load.sequences, of, load.length) or 0.0
    return rows.padding_share(load.sequences, load.length) or 0.0


def precisions(spec: RunSpec, facts: ModelFacts, place: Place) -> tuple[LoadedAs, ...]:
    """The precisions to load the base in: as set; if unset, 4 bit where 16 bit does not fit."""
    if is_stored(facts):
        return ("stored",)
    chosen = loaded_precision(spec, place)
    if spec.model.precision != "auto" or not facts.can_be_quantised or not is_applicable("nf4", spec):
        return (chosen,)
    return (chosen, "nf4")


def micro_batches(spec: RunSpec, place: Place, rows: Rows = UNCOUNTED) -> list[int]:
    """Micro-batches that divide the batch size, so that the effective batch size stays as set."""
    training, traits = spec.training, method_traits(spec.method.kind)
    if training.micro_batch is not None:
        return [training.micro_batch]
    sequences, least = traits.sequences_per_row, traits.fewest_rows
    is_packed = own_options.is_packed(spec.method)
    length = training.max_length if is_packed else rows.longest_within(training.max_length)
    most = MOST_TOKENS // max(1, length * sequences) if place.is_gpu else LARGEST_CPU_MICRO_BATCH // sequences
    if is_packed and spec.model.attention != "flash_attention_2":
        most = min(most, MOST_MASKED_TOKENS // max(1, length))
    divisors = [size for size in range(1, training.batch_size + 1) if training.batch_size % size == 0]
    fitting = [size for size in divisors if least <= size <= max(least, most)]
    return fitting or [next((size for size in divisors if size >= least), training.batch_size)]


def _cost(load: Workload, spec: RunSpec, place: Place, rows: Rows) -> float:
    """Time per token of a row, relative to a large micro-batch without padding, in 16 bit, without checkpointing."""
    mean = min(rows.mean or load.length, load.length) if load.varied else load.length
    of_checkpointing = CHECKPOINTING_COST if load.checkpointing == "on" else 1.0
    if place.is_gpu:
        cost = 1 / (1 - _padding(spec, load, rows)) + GPU_START_TOKENS / (mean * load.sequences)
        return cost * of_checkpointing * PRECISION_COST[load.loaded_as]
    threads, each = spec.machine.threads or place.threads, load.method_traits.sequences_per_row
    if load.varied and rows.sample:
        lengths = tuple(each * min(tokens, load.length) for tokens in rows.sample)
        order = is_sorted(spec, load) or spec.training.group_by_length is True
        cost = step_cost(
            lengths, load.rows, spec.training.batch_size, load.concurrent, threads, is_sorted=order
        )
    else:
        cost = token_cost(load.micro_batch_tokens, load.concurrent, threads)
    return cost * of_checkpointing * (1.0 + 0.1 * (load.loaded_as == "nf4"))


def best_of(trials: list[Trial]) -> Trial:
    """The first that fits: 4 bit comes only where 16 do not fit; else the first that is tight, else the least."""
    for verdict in ("fits", "unknown", "tight"):
        matching = [trial for trial in trials if trial.verdict == verdict]
        if matching:
            return matching[0]
    return min(trials, key=lambda trial: trial.estimate.high)


def _choices(spec: RunSpec, best: Trial, first: Trial, place: Place, rows: Rows) -> Iterator[PlannedChoice]:
    load, training = best.load, spec.training
    room = place.room_bytes
    of_room = f"{best.estimate.words()} of {room / GB:.1f} GB" if room is not None else "free memory unknown"
    if load.loaded_as != first.load.loaded_as:
        reason = f"{first.load.loaded_as} does not fit; a little lower quality and speed"
        yield PlannedChoice("precision", load.loaded_as, reason)
    elif spec.model.precision == "auto":
        yield PlannedChoice("precision", load.loaded_as, _precision_reason(load, place))
    if training.micro_batch is None:
        steps = training.batch_size // load.rows
        if best.larger is not None and room is not None:
            reason = f"a larger one could take {best.larger.high / GB:.1f} of {room / GB:.1f} GB"
        elif best.has_faster_small:
            reason = f"a larger one is not faster: {of_room}"
        else:
            reason = (
                f"the full batch at once: {of_room}"
                if steps == 1
                else f"larger ones are not faster: {of_room}"
            )
        accumulated = f", {steps} times for a batch of {training.batch_size}" if steps > 1 else ""
        yield PlannedChoice("micro-batch", f"{load.rows} x {load.length} tokens{accumulated}", reason)
    if load.concurrent > 1:
        reason = (
            "as set" if spec.machine.concurrent_micro_batches else "faster on a CPU than one with all threads"
        )
        yield PlannedChoice(CONCURRENT, str(load.concurrent), reason)
    if training.checkpointing == "auto" and not best.estimate.shape.can_checkpoint:
        yield PlannedChoice("checkpointing", "off", "the model's class does not have it")
    elif training.checkpointing == "auto":
        is_on = load.checkpointing == "on"
        reason = (
            "activations do not fit otherwise; about a quarter slower"
            if is_on
            else "activations fit, and it is faster"
        )
        if room is None:
            reason = "free memory unknown, so the setting with less memory" if is_on else "this is a CPU"
        yield PlannedChoice("checkpointing", "on" if is_on else "off", reason)
    if spec.model.attention == "auto" and best.estimate.shape.has_fused_attention:
        yield PlannedChoice("attention", "sdpa", "PyTorch's fused attention, on any GPU or CPU")
    elif spec.model.attention == "auto":
        yield PlannedChoice("attention", "eager", "the model's class does not have PyTorch's fused attention")
    if load.scores_labels_alone:
        yield PlannedChoice(
            "loss", "labels alone", "logits of tokens with loss, and of no others; no entropy"
        )
    elif load.method_traits.reads_head_weights:
        yield PlannedChoice("loss", "fused", "logits in tiles, never materialised in full")
    states = best.estimate.parts.states
    yield PlannedChoice("optimizer", load.optimizer, f"as set; its states take {states / GB:.2f} GB")
    if (order := _order(spec, load, rows)) is not None:
        yield order
    longest = rows.longest_within(training.max_length)
    if not load.varied:
        return
    if rows.first is not None:
        reason = f"the limit: only the first {counted(rows.first, 'row was', 'rows were')} read"
        yield PlannedChoice("length", str(longest), reason)
    elif longest < training.max_length:
        yield PlannedChoice("length", str(longest), f"the longest row; the limit is {training.max_length}")
    if best.verdict == "tight":
        yield PlannedChoice(
            "memory",
            "tight",
            f"{of_room}: an unlucky batch may not fit; the run then falls back to a smaller micro-batch",
        )


def _precision_reason(load: Workload, place: Place) -> str:
    if load.loaded_as == "stored":
        return "as stored in the model's files"
    if load.loaded_as == "nf4":
        return "the least memory"
    if load.trains_base:
        return KEPT_FP32
    return "16 bit is fast here" if place.has_16_bit else "16 bit is slow here"


def is_grouped(spec: RunSpec, load: Workload, rows: Rows) -> bool:
    """Whether rows are grouped by length: as set, else if there is much padding and there are enough rows."""
    if spec.training.group_by_length != "auto":
        return spec.training.group_by_length
    share = _padding(spec, load, rows)
    has_enough = (rows.count or rows.first or 0) >= FEWEST_BATCHES * spec.training.batch_size
    is_free = load.varied and not load.method_traits.keeps_order
    return is_free and has_enough and share >= WORTH_GROUPING


def is_sorted(spec: RunSpec, load: Workload) -> bool:
    """Whether each step's rows are sorted by length into micro-batches, the longest first.

    That pads less, keeps threads busy to the end of a step, and changes no step's rows.
    """
    is_padded_or_shared = load.sequences > 1 or load.concurrent > 1
    has_several = is_padded_or_shared and spec.training.batch_size > load.rows
    is_free = load.varied and not load.method_traits.keeps_order
    return spec.training.group_by_length == "auto" and has_several and is_free


def _order(spec: RunSpec, load: Workload, rows: Rows) -> PlannedChoice | None:
    """Whether rows are grouped by length, and what that saves."""
    if own_options.is_packed(spec.method):
        return PlannedChoice("rows", "packed", "as set; no padding")
    if rows.mean is None or load.sequences == 1:
        return None
    share = rows.padding_share(load.sequences, load.length) or 0.0
    padding = f"{100 * share:.0f} %"
    if is_grouped(spec, load, rows):
        why = "as set; " if spec.training.group_by_length is True else ""
        return PlannedChoice("rows", "grouped by length", f"{why}avoids most of {padding} padding")
    if is_sorted(spec, load):
        left = f"{100 * _padding(spec, load, rows):.0f} % padding instead of {padding}"
        why = "less padding" if rows.is_guessed else left
        return PlannedChoice("rows", "sorted within each step", why)
    if rows.is_guessed:
        return None
    return PlannedChoice("rows", "in random order", f"{padding} of the tokens are padding")

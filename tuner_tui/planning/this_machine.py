"""The memory plan of a spec on this machine, from model headers, rows and free memory, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError, TunerError
from tuner_tui.planning.place import UNCOUNTED, Rows, leave_free_bytes, place_of, workload_of
from tuner_tui.planning.planner import MemoryPlan, plan_memory
from tuner_tui.planning.refusals import require_trainable
from tuner_tui.planning.states import trains_nothing

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.models.source import ModelSource
    from tuner_tui.planning.measurement import Measured


def plan_here(spec: RunSpec, source: ModelSource, measured: Sequence[Measured] = ()) -> MemoryPlan | None:
    """The memory plan of a spec here; None if the model's sizes cannot be read.

    Raises InputError if it cannot be trained as the spec says, as far as that is known before the run.
    """
    from tuner_tui.hardware.free_memory import read_free_memory

    facts = facts_of(source)
    if facts is None:
        return None
    rows = rows_of(spec)
    require_trainable(spec, facts, source.name, rows)
    place = place_of(
        read_free_memory(spec.machine.device, once_workers_end=True), leave_free_bytes(), measured
    )
    plan = plan_memory(spec, facts, place, rows)
    if plan is not None and trains_nothing(plan.estimate.shape, plan.load):
        raise InputError(
            "Nothing would be trained",
            f"tuning.targets names no module of {source.name}.",
            'Set it to "all-linear", "attention" or module names such as ["q_proj", "v_proj"].',
        )
    return plan


def slow_run(spec: RunSpec, facts: ModelFacts | None, name: str, count: int) -> str:
    """A sentence where a run on so many rows takes more than a day here by the best guess; empty otherwise."""
    from tuner_tui.hardware.free_memory import read_free_memory
    from tuner_tui.planning.run_time import outlook_of
    from tuner_tui.planning.shape import shape_of

    shape = None if facts is None else shape_of(facts)
    if shape is None:
        return ""
    place = place_of(read_free_memory(spec.machine.device))
    outlook = outlook_of(spec, workload_of(spec, place), UNCOUNTED, (), name, shape=shape, count=count)
    if not outlook.is_slow:
        return ""
    return (
        f"{name} is slow here: it takes {outlook.rough_words}. A smaller model or fewer rows take less; "
        "`tuner-tui probe` runs three steps and measures it."
    )


def facts_of(source: ModelSource) -> ModelFacts | None:
    """A model's facts, from this machine or from headers on the Hub; None if neither can be read."""
    from tuner_tui.models.facts import read_facts
    from tuner_tui.models.remote_headers import read_remote_facts

    try:
        return read_facts(source) if source.path else read_remote_facts(source)
    except TunerError:
        return None


def rows_of(spec: RunSpec) -> Rows:
    """The lengths of the spec's rows; guessed if the tokenizer is not here yet, unknown if rows cannot be read."""
    from tuner_tui.data.recognition.reading import training_reading
    from tuner_tui.models.source import find_source
    from tuner_tui.models.tokenizer_folder import NoTokenizer
    from tuner_tui.planning.row_lengths import count_rows, guess_rows

    try:
        reading = training_reading(spec.data)
        source = find_source(spec.model.source, spec.model.revision)
        try:
            return count_rows(reading, tokenizer_of(spec, source))
        except NoTokenizer:
            return guess_rows(reading)
    except TunerError:
        return UNCOUNTED


def tokenizer_of(spec: RunSpec, source: ModelSource, *, may_fetch: bool = False) -> Path:
    """The folder with a model's tokenizer; with `may_fetch` that of a Hub model may be downloaded alone.

    Raises TunerError if there is none.
    """
    from tuner_tui.models.remote_headers import remote_tokenizer
    from tuner_tui.models.tokenizer_folder import tokenizer_folder

    if source.kind == "hub" and source.path is None:
        return remote_tokenizer(source, may_fetch=may_fetch)
    return tokenizer_folder(spec.model.source, spec.model.revision)

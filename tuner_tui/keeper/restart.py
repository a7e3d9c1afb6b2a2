"""Decides whether another worker continues a run: after an OOM fallback step, or after rolling back a bad loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import TunerError
from tuner_tui.files import write_atomic
from tuner_tui.hardware.free_memory import read_free_memory
from tuner_tui.planning.oom_fallback import Shape, next_fallback
from tuner_tui.planning.plan import Plan, encode_plan, read_plan
from tuner_tui.runs.ending_words import stopped_as_it_is
from tuner_tui.runs.events import FallbackTaken, MemoryShort, RolledBack, RunFailed, RunStopped
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.status import read_run
from tuner_tui.text import counted, size

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunState


def prepare_restart(folder: RunFolder, *, was_killed_for_memory: bool) -> RunStopped | RunFailed | bool:
    """What follows after a worker has exited: True to start another one (the plan is changed), False for nothing.

    Otherwise the run's ending: it does not fit, its loss stays bad, or a stop was requested.
    """
    state = read_run(folder).state
    if state.ending is not None:
        return False
    try:
        spec, plan = read_spec(folder.spec), read_plan(folder.plan)
    except TunerError:
        return False
    event = state.recoverable
    if was_killed_for_memory and state.leaving is not None:
        return stopped_as_it_is(folder, state, is_pause=state.leaving.request == "pause")
    if event is None and was_killed_for_memory:
        event = _killed(state)
        append_event(folder.events, event)
    match event:
        case MemoryShort():
            return _fall_back(folder, spec, plan, state, event)
        case RolledBack():
            return _roll_back(folder, spec, plan, event)
    return False


def _fall_back(
    folder: RunFolder, spec: RunSpec, plan: Plan, state: RunState, short: MemoryShort
) -> RunFailed | bool:
    # If not even the base was loaded, only a fresh process can help.
    shape = short.shape or Shape(micro_batch=1, batch_size=1, is_checkpointing=True)
    fallback = next_fallback(
        shape, plan.fallbacks, spec.guards.memory_rungs, has_made_steps=short.has_made_steps
    )
    if fallback is None:
        return _cannot_fit(spec, plan, state, short)
    changed = msgspec.structs.replace(plan, fallbacks=(*plan.fallbacks, fallback))
    write_atomic(folder.plan, encode_plan(changed))
    append_event(folder.events, FallbackTaken(fallback=fallback))
    return True


def _roll_back(folder: RunFolder, spec: RunSpec, plan: Plan, back: RolledBack) -> RunFailed | bool:
    if len(plan.skipped_steps) >= spec.guards.most_skips:
        return RunFailed(
            kind="not_finite",
            title="The loss stays bad",
            message=(
                f"{counted(len(plan.skipped_steps), 'step was', 'steps were')} skipped, and step "
                f"{back.step} is bad as well: {back.reason}"
            ),
            hint="Lower training.learning_rate, or raise guards.most_skips.",
        )
    changed = msgspec.structs.replace(plan, skipped_steps=(*plan.skipped_steps, back.step))
    write_atomic(folder.plan, encode_plan(changed))
    return True


def _killed(state: RunState) -> MemoryShort:
    """The event of a worker that the system killed for using too much memory."""
    return MemoryShort(
        where=state.phase,
        step=state.step,
        message="the system killed the worker",
        shape=state.training.shape if state.training else None,
        has_made_steps=state.last_step is not None,
    )


def _cannot_fit(spec: RunSpec, plan: Plan, state: RunState, short: MemoryShort) -> RunFailed:
    tried = "; ".join(
        f"{fallback.kind.replace('_', '-')} {fallback.before} -> {fallback.after}"
        for fallback in plan.fallbacks
    )
    figures = []
    if plan.memory is not None:
        low, high = size(plan.memory.low_bytes), size(plan.memory.high_bytes)
        figures.append(f"the estimate was {low} to {high}")
    free = read_free_memory(spec.machine.device)
    if free.free_bytes is not None:
        total = f" of {size(free.total_bytes)}" if free.total_bytes is not None else ""
        holder = f" ({free.holders[0][0]} uses {size(free.holders[0][1])})" if free.holders else ""
        figures.append(f"{size(free.free_bytes)}{total} of {free.where} are free now{holder}")
    if state.model is not None:
        figures.append(f"base and adapter take {size(state.model.memory_bytes)}")
    if short.shape is not None:
        figures.append(
            f"the rest is for rows of up to {counted(spec.training.max_length, 'token')}, "
            f"{short.shape.micro_batch} at once"
        )
    allowed = spec.guards.memory_rungs
    return RunFailed(
        kind="out_of_memory",
        title="It does not fit in memory" if allowed else "Out of memory",
        message=". ".join(
            part
            for part in (
                short.message.rstrip("."),
                "; ".join(figures),
                f"Tried: {tried}" if tried else "",
            )
            if part
        )
        + ".",
        hint="Use a lower model.precision (nf4), a shorter training.max_length or a smaller model"
        + ("" if allowed else "; or allow OOM fallback steps in guards.memory_rungs")
        + ", or close other programs; then resume or start again.",
    )

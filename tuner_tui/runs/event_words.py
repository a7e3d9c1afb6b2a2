"""Events in words: a line each, for commands and the Monitor."""

from __future__ import annotations

from tuner_tui.runs.ending_words import ending_words
from tuner_tui.runs.events import (
    AdapterSaved,
    CheckpointSaved,
    ChoicesMade,
    DataPrepared,
    Evaluated,
    Event,
    FallbackTaken,
    MemoryShort,
    ModelLoaded,
    PhaseEntered,
    RequestAccepted,
    RolledBack,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    Sampled,
    StepLogged,
    StepSkipped,
    StepsProfiled,
    TrainingStarted,
    Warned,
)
from tuner_tui.runs.report import fallback_words
from tuner_tui.text import PHASES, count, counted, number, plain, size


def where_short(event: MemoryShort) -> str:
    """What a run was doing when memory ran out."""
    doing = PHASES[event.where] if event.where else "starting"
    return f"while {doing} after step {event.step}" if event.step else f"while {doing}"


def event_words(event: Event) -> str | None:
    """One line for an event, or a few; None for events that are not shown."""
    match event:
        case RunStarted(is_resumed=is_resumed):
            return "resuming" if is_resumed else "starting"
        case PhaseEntered(phase=phase, detail=detail) if detail:
            return f"{PHASES[phase]}: {plain(detail)}"
        case ChoicesMade(choices=choices):
            return "\n".join(f"{c.name}: {plain(c.value)} ({plain(c.reason)})" for c in choices)
        case ModelLoaded():
            return (
                f"model: {plain(event.source)} on {event.device} as {event.precision}, "
                f"{count(event.parameters)} parameters, {count(event.trainable_parameters)} trained, "
                f"{size(event.memory_bytes)}"
            )
        case DataPrepared():
            held_out = f", {event.evaluation_rows} held out" if event.evaluation_rows else ""
            cut = f", {event.cut_rows} truncated" if event.cut_rows else ""
            return (
                f"data: {counted(event.rows, 'row')} ({event.shape}){held_out}{cut}; loss on "
                f"{event.trained_tokens:,} of "
                f"{counted(event.tokens, 'token')}; longest row {event.longest_row}"
            )
        case TrainingStarted():
            where = f" from step {event.from_step}" if event.from_step else ""
            return f"training: {event.total_steps} steps{where}, batch {event.micro_batch} x {event.accumulation}"
        case StepLogged():
            return (
                f"step {event.step}/{event.total_steps}  loss {number(event.loss)}  "
                f"grad norm {number(event.grad_norm, 3)}  lr {number(event.learning_rate, 3)}  {event.seconds:.2f} s"
            )
        case Evaluated():
            best = "  best so far" if event.is_best else ""
            return f"evaluation at step {event.step}: loss {number(event.loss)}{best}"
        case Sampled():
            return f"sample at step {event.step} ({event.source}): {plain(event.prompt)} -> {plain(event.answer)}"
        case CheckpointSaved():
            return f"checkpoint: {plain(event.path)} ({size(event.size_bytes)}, {event.seconds:.1f} s)"
        case RequestAccepted():
            return event.words.rstrip(".")
        case MemoryShort():
            checkpoint_note = f"; saved as {event.checkpoint}" if event.checkpoint else ""
            return f"memory ran out {where_short(event)}{checkpoint_note}: {plain(event.message)}"
        case FallbackTaken(fallback=fallback):
            return f"trying {fallback_words(fallback)} ({plain(fallback.reason)})"
        case StepSkipped():
            return f"step {event.step} is skipped: {plain(event.reason)}"
        case RolledBack():
            place = event.checkpoint or "the beginning"
            return f"bad loss at step {event.step}: {plain(event.reason)}; back to {place}"
        case StepsProfiled(first_step=first, steps=steps):
            last = first + steps - 1
            return (
                f"profiled steps {first} to {last}: {event.path}"
                if steps > 1
                else f"profiled step {first}: {event.path}"
            )
        case Warned():
            return f"warning: {plain(event.message)} {plain(event.hint)}".rstrip()
        case AdapterSaved():
            return f"saved: {plain(event.path)} ({size(event.size_bytes)})"
        case RunFinished() | RunStopped() | RunFailed():
            return ending_words(event)
    return None

"""The worker's protocol: every event of a run, and how a line of events.jsonl is written and read.

Times are unix seconds (`at`), sizes bytes, durations seconds. A number that was not finite or is not known is None.
An attempt begins with RunStarted and ends in exactly one of TERMINAL; without one, and with the run's lock free, it
was interrupted. A run that is resumed after its end has one such pair for each attempt.
"""

from __future__ import annotations

import math
import time
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec

from tuner_tui.planning.oom_fallback import Rung, Shape
from tuner_tui.planning.plan import Choice
from tuner_tui.planning.precision import Arithmetic, LoadedPrecision

PROTOCOL = 1
LATEST_TIME = 32_503_680_000.0
"""The year 3000: a time beyond it, or before 1970, is no time at which anything happened."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""A number of things; a line with an impossible one is not read."""

Phase = Literal["loading", "preparing", "training", "evaluating", "sampling", "saving"]
Request = Literal["stop", "pause", "save", "sample"]
FailureKind = Literal[
    "error",  # explained: a TunerError
    "crash",  # an exception nobody explained
    "out_of_memory",
    "not_finite",  # the loss became NaN or infinite
    "killed",  # a signal from outside
    "lost",  # the worker crashed and nobody knows its exit code
]


class EventBase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """What all events have."""

    at: float = 0.0


class RunStarted(EventBase, frozen=True, kw_only=True, tag="started"):
    """An attempt at the run begins: the keeper writes this just before it starts a worker."""

    protocol: Count
    versions: dict[str, str] = {}
    is_resumed: bool = False


class WorkerStarted(EventBase, frozen=True, kw_only=True, tag="worker"):
    """The attempt's worker is at work."""

    pid: Count
    """For telemetry and for ending what is left of it; whether it lives, the lock says."""
    local_time: str = ""
    """The wall clock's time, as ISO 8601 has it: what chat templates of the run write, also after midnight."""


class PhaseEntered(EventBase, frozen=True, kw_only=True, tag="phase"):
    """The worker has begun another kind of work."""

    phase: Phase
    detail: str = ""


class ChosenMachine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a worker computes, and in which number types."""

    device: Literal["cuda", "cpu"]
    device_name: str = ""
    """A GPU's name; empty on a CPU."""
    precision: LoadedPrecision
    """How the base is loaded."""
    arithmetic: Arithmetic
    is_mixed: bool = False
    """Whether that is mixed precision, beside weights of another type."""


class ChoicesMade(EventBase, frozen=True, kw_only=True, tag="choices"):
    """Settings that only the worker could resolve (those that need torch)."""

    choices: tuple[Choice, ...]
    """As a person reads them."""
    machine: ChosenMachine | None = None
    """None where the choices are not of the machine."""


class ModelLoaded(EventBase, frozen=True, kw_only=True, tag="model"):
    """The base is in memory with its adapter, ready to train."""

    source: str
    precision: str
    device: str
    parameters: Count
    trainable_parameters: Count
    memory_bytes: Count
    seconds: float


class DataPrepared(EventBase, frozen=True, kw_only=True, tag="data"):
    """Rows have become tokens."""

    rows: Count
    dropped_rows: Count
    """Rows without a single trained token within the length limit."""
    cut_rows: Count
    """Rows longer than the length limit."""
    evaluation_rows: Count
    tokens: Count
    trained_tokens: Count
    longest_row: Count
    shape: str


class TrainingStarted(EventBase, frozen=True, kw_only=True, tag="training"):
    """The first step is about to be made."""

    total_steps: Count
    from_step: Count = 0
    micro_batch: Count
    accumulation: Count
    shape: Shape | None = None
    checkpoint: str | None = None
    """The name of the checkpoint gone on from, such as step-000120."""


class StepLogged(EventBase, frozen=True, kw_only=True, tag="step"):
    """One optimizer step."""

    step: Count
    total_steps: Count
    epoch: float
    loss: float | None
    grad_norm: float | None = None
    learning_rate: float | None = None
    tokens: Count = 0
    """Tokens in this step's rows, padding apart."""
    seconds: float = 0.0
    """The step's own time; samples, evaluation and saving apart."""
    peak_memory_bytes: Count | None = None
    metrics: dict[str, float] = {}
    """The method's own figures, by the trainer's names."""


class Evaluated(EventBase, frozen=True, kw_only=True, tag="evaluated"):
    """The held-out rows were looked at."""

    step: Count
    loss: float | None
    seconds: float
    is_best: bool = False
    metrics: dict[str, float] = {}


class Sampled(EventBase, frozen=True, kw_only=True, tag="sample"):
    """A fixed prompt was answered."""

    step: Count
    prompt_index: Count
    prompt: str
    answer: str
    source: Literal["base", "tuned"]
    seconds: float
    is_finished: bool
    """False when the answer was cut off by the length limit."""


class CheckpointSaved(EventBase, frozen=True, kw_only=True, tag="checkpoint"):
    """A whole checkpoint stands in the run's folder."""

    step: Count
    path: str
    size_bytes: Count
    seconds: float
    reason: Literal["schedule", "request", "stop", "end"] = "schedule"


class RequestAccepted(EventBase, frozen=True, kw_only=True, tag="request"):
    """A request left in control/ was read; `takes_effect` says when it will be carried out."""

    id: str
    request: Request
    takes_effect: str


class Warned(EventBase, frozen=True, kw_only=True, tag="warning"):
    """Something the person should know that does not end the run."""

    message: str
    hint: str = ""


class MemoryShort(EventBase, frozen=True, kw_only=True, tag="memory_short"):
    """Memory ran out: the worker leaves after this, and the keeper climbs a rung or ends the run."""

    where: Phase | None
    step: Count
    message: str
    checkpoint: str | None = None
    """The checkpoint that was saved just then; None when there was no saving it."""
    shape: Shape | None = None
    """None when not even the base was in memory."""
    has_made_steps: bool = False
    """Whether this worker had made steps before."""


class RungClimbed(EventBase, frozen=True, kw_only=True, tag="rung"):
    """What was changed so that the run fits; a new worker follows."""

    rung: Rung


class StepSkipped(EventBase, frozen=True, kw_only=True, tag="skipped"):
    """A step's rows were left out: its weights did not change."""

    step: Count
    reason: str


class RolledBack(EventBase, frozen=True, kw_only=True, tag="rolled_back"):
    """A step's loss went bad: the worker leaves, and a new one goes on from the checkpoint before it."""

    step: Count
    checkpoint: str | None
    """None when there was none, so that the run begins again."""
    reason: str


class AdapterSaved(EventBase, frozen=True, kw_only=True, tag="adapter"):
    """The result stands in the run's folder."""

    path: str
    size_bytes: Count


class OverheadMeasured(EventBase, frozen=True, kw_only=True, tag="overhead"):
    """Where the worker's time went besides steps."""

    step_seconds: float
    callback_seconds: float
    """Time in our own callbacks; samples, evaluation and saving apart."""
    sample_seconds: float
    evaluation_seconds: float
    checkpoint_seconds: float


class RunFinished(EventBase, frozen=True, kw_only=True, tag="finished"):
    """The run did all it was asked."""

    step: Count
    loss: float | None
    seconds: float
    reason: Literal["complete", "early_stopping"] = "complete"


class RunStopped(EventBase, frozen=True, kw_only=True, tag="stopped"):
    """The run ended early because it was asked to; `checkpoint` is what it can go on from."""

    step: Count
    checkpoint: str | None
    """The name of the checkpoint that it can go on from, such as step-000120."""
    seconds: float
    is_pause: bool = False
    """Whether it was only to let go of the card for a while."""


class RunFailed(EventBase, frozen=True, kw_only=True, tag="failed"):
    """The run could not go on."""

    kind: FailureKind
    title: str
    message: str = ""
    hint: str = ""
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()
    step: Count | None = None


Event = (
    RunStarted
    | WorkerStarted
    | PhaseEntered
    | ChoicesMade
    | ModelLoaded
    | DataPrepared
    | TrainingStarted
    | StepLogged
    | Evaluated
    | Sampled
    | CheckpointSaved
    | RequestAccepted
    | Warned
    | MemoryShort
    | RungClimbed
    | StepSkipped
    | RolledBack
    | AdapterSaved
    | OverheadMeasured
    | RunFinished
    | RunStopped
    | RunFailed
)
TERMINAL = (RunFinished, RunStopped, RunFailed)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One line of events.jsonl, stamped with the time when the event carries none; never NaN or infinity."""
    if not event.at:
        event = msgspec.structs.replace(event, at=time.time())
    return _encoder.encode(event) + b"\n"


class Decoded(NamedTuple):
    """The events of some lines, and what is wrong with the lines."""

    events: list[Event]
    unreadable_lines: int
    """Lines that are no events; not counted are kinds of a newer version and lines cut short by a crash."""
    impossible_times: int
    """Events whose time cannot be; they were given the time of the event beside them."""


def decode(line: bytes) -> Event | None:
    """The event on a line; None for a kind this version does not know and for a line that cannot be read."""
    try:
        return _decoder.decode(line)
    except (ValueError, RecursionError):
        return None


def decode_lines(lines: bytes) -> list[Event]:
    """All events of whole lines; lines that `decode` gives None for are left out."""
    return decode_all(lines).events


def decode_all(lines: bytes) -> Decoded:
    """All events of whole lines, with how many lines there is something wrong with."""
    unreadable = 0
    try:
        events = _decoder.decode_lines(lines)
    except (ValueError, RecursionError):  # one bad line: find it the slow way
        events = []
        for line in lines.splitlines():
            if (event := decode(line)) is not None:
                events.append(event)
            elif line.strip() and not _is_to_be_expected(line):
                unreadable += 1
    if all(0.0 <= event.at <= LATEST_TIME for event in events):
        return Decoded(events, unreadable, 0)
    return Decoded(_with_possible_times(events), unreadable, sum(not _is_possible(e.at) for e in events))


class _Kind(msgspec.Struct):
    event: str


_kind_decoder: msgspec.json.Decoder[_Kind] = msgspec.json.Decoder(_Kind)
_KINDS = {kind.__struct_config__.tag for kind in get_args(Event)}


def _is_to_be_expected(line: bytes) -> bool:
    """Whether a line is an event of a newer version, or was torn when its writer was killed."""
    try:
        return _kind_decoder.decode(line).event not in _KINDS
    except msgspec.ValidationError:
        return False
    except msgspec.DecodeError as error:
        return line.startswith(b'{"event":') and "truncated" in str(error)
    except (ValueError, RecursionError):
        return False


def _is_possible(at: float) -> bool:
    return 0.0 <= at <= LATEST_TIME


def _with_possible_times(events: list[Event]) -> list[Event]:
    """Events whose impossible times are those of the event before, or of the first one that has a possible time."""
    at = next((event.at for event in events if _is_possible(event.at)), 0.0)
    timed = []
    for event in events:
        if _is_possible(event.at):
            at = event.at
            timed.append(event)
        else:
            timed.append(msgspec.structs.replace(event, at=at))
    return timed


def machine_of(event: ChoicesMade) -> ChosenMachine | None:
    """The machine of an event, also of one that was written before it had it as a field."""
    if event.machine is not None:
        return event.machine
    by_name = {choice.name: choice for choice in event.choices}
    if not {"device", "precision", "arithmetic"} <= by_name.keys():
        return None
    device, arithmetic = by_name["device"], by_name["arithmetic"].value.split()
    fields = {
        "device": device.value,
        "device_name": device.reason if device.value == "cuda" else "",
        "precision": by_name["precision"].value,
        "arithmetic": next(iter(arithmetic), ""),
        "is_mixed": "(mixed)" in arithmetic,
    }
    try:
        return msgspec.convert(fields, ChosenMachine)
    except msgspec.ValidationError:
        return None


def finite(value: float | None) -> float | None:
    """The value, or None when it is NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None

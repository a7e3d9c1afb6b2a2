"""The events of a run, and how lines of events.jsonl are encoded and decoded.

Times are unix seconds (`at`), sizes bytes, durations seconds; numbers that are not finite or unknown are None.
An attempt begins with RunStarted and ends with exactly one of TERMINAL. Without that, and with the run's lock free, it
was interrupted. A resumed run has several attempts.
"""

from __future__ import annotations

import math
import time
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec

from tuner_tui.planning.oom_fallback import FallbackStep, Shape
from tuner_tui.planning.plan import Choice
from tuner_tui.planning.precision import Arithmetic, LoadedPrecision
from tuner_tui.runs.model_setup import ModelSetup, setup_in_words

PROTOCOL = 1
LATEST_TIME = 32_503_680_000.0
"""The year 3000: times beyond it, or before 1970, are invalid."""

NEVER = "never: "
"""How `RequestAccepted.takes_effect` begins for a request that will not be carried out; the reason follows."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""A count; lines with an impossible one are rejected."""

Phase = Literal["loading", "preparing", "training", "evaluating", "sampling", "saving"]
Request = Literal["stop", "pause", "save", "sample", "profile"]
FailureKind = Literal[
    "error",  # a TunerError, with an explanation
    "crash",  # an unexpected exception
    "out_of_memory",
    "not_finite",  # the loss became NaN or infinite
    "killed",  # ended by a signal
    "lost",  # the worker crashed and its exit code is unknown
]


class EventBase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """Base class of all events."""

    at: float = 0.0


class RunStarted(EventBase, frozen=True, kw_only=True, tag="started"):
    """An attempt begins; written by the keeper just before it starts a worker."""

    protocol: Count
    versions: dict[str, str] = {}
    is_resumed: bool = False


class WorkerStarted(EventBase, frozen=True, kw_only=True, tag="worker"):
    """The attempt's worker has started."""

    pid: Count
    """For telemetry and for ending what is left of it; whether it lives, the lock says."""
    local_time: str = ""
    """The wall clock's time, as ISO 8601 has it: what chat templates of the run write, also after midnight."""


class PhaseEntered(EventBase, frozen=True, kw_only=True, tag="phase"):
    """The worker has entered another phase."""

    phase: Phase
    detail: str = ""


class ChosenMachine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The device and dtypes of a worker."""

    device: Literal["cuda", "cpu"]
    device_name: str = ""
    """A GPU's name; empty on a CPU."""
    precision: LoadedPrecision
    """Precision in which the base is loaded."""
    arithmetic: Arithmetic
    is_mixed: bool = False
    """Whether the compute dtype is used by autocast, with weights of another dtype."""


class ChoicesMade(EventBase, frozen=True, kw_only=True, tag="choices"):
    """Settings that only the worker can resolve, because they need torch."""

    choices: tuple[Choice, ...]
    """As shown to the user."""
    machine: ChosenMachine | None = None
    """None if the choices do not concern the machine."""
    setup: ModelSetup | None = None
    """None if the choices do not concern the model's class and layers."""


class ModelLoaded(EventBase, frozen=True, kw_only=True, tag="model"):
    """The base and its adapter are loaded, ready to train."""

    source: str
    precision: str
    device: str
    parameters: Count
    trainable_parameters: Count
    memory_bytes: Count
    seconds: float


class DataPrepared(EventBase, frozen=True, kw_only=True, tag="data"):
    """The rows are tokenised."""

    rows: Count
    dropped_rows: Count
    """Rows without a token with loss within the length limit."""
    cut_rows: Count
    """Truncated rows, which are longer than the length limit."""
    evaluation_rows: Count
    tokens: Count
    trained_tokens: Count
    longest_row: Count
    shape: str


class TrainingStarted(EventBase, frozen=True, kw_only=True, tag="training"):
    """Training starts with its first step."""

    total_steps: Count
    from_step: Count = 0
    micro_batch: Count
    accumulation: Count
    shape: Shape | None = None
    checkpoint: str | None = None
    """The name of the checkpoint resumed from, such as step-000120."""


class StepLogged(EventBase, frozen=True, kw_only=True, tag="step"):
    """One optimizer step."""

    step: Count
    total_steps: Count
    epoch: float
    loss: float | None
    grad_norm: float | None = None
    learning_rate: float | None = None
    tokens: Count = 0
    """Tokens in this step's rows, without padding."""
    seconds: float = 0.0
    """The step's own time, without samples, evaluation and saving."""
    peak_memory_bytes: Count | None = None
    metrics: dict[str, float] = {}
    """The method's metrics, by the trainer's names."""


class Evaluated(EventBase, frozen=True, kw_only=True, tag="evaluated"):
    """The held-out rows were evaluated."""

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
    """False when the answer was truncated at the length limit."""


class CheckpointSaved(EventBase, frozen=True, kw_only=True, tag="checkpoint"):
    """A complete checkpoint is in the run's folder."""

    step: Count
    path: str
    size_bytes: Count
    seconds: float
    reason: Literal["schedule", "request", "stop", "end"] = "schedule"


class RequestAccepted(EventBase, frozen=True, kw_only=True, tag="request"):
    """A request in control/ was read; `takes_effect` says when it will be carried out, or never and why."""

    id: str
    request: Request
    takes_effect: str

    @property
    def is_refused(self) -> bool:
        """Whether it will not be carried out."""
        return self.takes_effect.startswith(NEVER)

    @property
    def words(self) -> str:
        """The answer in a sentence."""
        if self.is_refused:
            return f"{self.request}: not done, {self.takes_effect.removeprefix(NEVER)}."
        return f"{self.request}: accepted, takes effect {self.takes_effect}."


class Warned(EventBase, frozen=True, kw_only=True, tag="warning"):
    """A warning that does not end the run."""

    message: str
    hint: str = ""


class MemoryShort(EventBase, frozen=True, kw_only=True, tag="memory_short"):
    """Out of memory: the worker exits after this, and the keeper takes the next OOM fallback step or ends the run."""

    where: Phase | None
    step: Count
    message: str
    checkpoint: str | None = None
    """The checkpoint that was saved then; None if it could not be saved."""
    shape: Shape | None = None
    """None if the base was not loaded yet."""
    has_made_steps: bool = False
    """Whether this worker had completed steps before."""


class FallbackTaken(EventBase, frozen=True, kw_only=True, tag="rung"):
    """An OOM fallback step was taken; a new worker follows."""

    fallback: FallbackStep = msgspec.field(name="rung")


class StepSkipped(EventBase, frozen=True, kw_only=True, tag="skipped"):
    """A step was skipped: its rows changed no weights."""

    step: Count
    reason: str


class RolledBack(EventBase, frozen=True, kw_only=True, tag="rolled_back"):
    """A step's loss was bad: the worker exits, and a new one resumes from the checkpoint before it."""

    step: Count
    checkpoint: str | None
    """None if there was none, so that the run starts over."""
    reason: str


class AdapterSaved(EventBase, frozen=True, kw_only=True, tag="adapter"):
    """The result is in the run's folder."""

    path: str
    size_bytes: Count


class StepsProfiled(EventBase, frozen=True, kw_only=True, tag="profiled"):
    """Some steps were measured with torch.profiler; the figures are in the run's folder."""

    first_step: Count
    steps: Count
    path: str


class OverheadMeasured(EventBase, frozen=True, kw_only=True, tag="overhead"):
    """The worker's time outside of steps."""

    step_seconds: float
    callback_seconds: float
    """Time in our callbacks, without samples, evaluation and saving."""
    sample_seconds: float
    evaluation_seconds: float
    checkpoint_seconds: float


class RunFinished(EventBase, frozen=True, kw_only=True, tag="finished"):
    """The run has finished all its steps."""

    step: Count
    loss: float | None
    seconds: float
    reason: Literal["complete", "early_stopping"] = "complete"


class RunStopped(EventBase, frozen=True, kw_only=True, tag="stopped"):
    """The run ended early on request; it can be resumed from `checkpoint`."""

    step: Count
    checkpoint: str | None
    """The name of the checkpoint that it can be resumed from, such as step-000120."""
    seconds: float
    is_pause: bool = False
    """Whether it was paused, to free the GPU for a while."""


class RunFailed(EventBase, frozen=True, kw_only=True, tag="failed"):
    """The run failed."""

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
    | FallbackTaken
    | StepSkipped
    | RolledBack
    | AdapterSaved
    | StepsProfiled
    | OverheadMeasured
    | RunFinished
    | RunStopped
    | RunFailed
)
TERMINAL = (RunFinished, RunStopped, RunFailed)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One line of events.jsonl, with the current time if the event has none; never NaN or infinity."""
    if not event.at:
        event = msgspec.structs.replace(event, at=time.time())
    return _encoder.encode(event) + b"\n"


class Decoded(NamedTuple):
    """The events of some lines, and the lines' problems."""

    events: list[Event]
    unreadable_lines: int
    """Unreadable lines, except for kinds of a newer version and lines truncated by a crash."""
    impossible_times: int
    """Events with an impossible time, which got the time of a neighbouring event."""


def decode(line: bytes) -> Event | None:
    """The event on a line; None for an unknown kind and for an unreadable line."""
    try:
        return _decoder.decode(line)
    except (ValueError, RecursionError):
        return None


def decode_lines(lines: bytes) -> list[Event]:
    """All events of complete lines, without those for which `decode` returns None."""
    return decode_all(lines).events


def decode_all(lines: bytes) -> Decoded:
    """All events of complete lines, with the number of bad lines."""
    unreadable = 0
    try:
        events = _decoder.decode_lines(lines)
    except (ValueError, RecursionError):  # one bad line: decode line by line
        events = []
        for line in lines.splitlines():
            if (event := decode(line)) is not None:
                events.append(event)
            elif line.strip() and not _is_to_be_expected(line):
                unreadable += 1
    if all(0.0 <= event.at <= LATEST_TIME for event in events):
        return Decoded(events, unreadable, 0)
    return Decoded(_with_possible_times(events), unreadable, sum(not _is_possible(e.at) for e in events))


_EVENT_START = b'{"event":'


class _Kind(msgspec.Struct):
    event: str


_kind_decoder: msgspec.json.Decoder[_Kind] = msgspec.json.Decoder(_Kind)
_KINDS = {kind.__struct_config__.tag for kind in get_args(Event)}


def _is_to_be_expected(line: bytes) -> bool:
    """Whether a line is an event of a newer version, or incomplete because its writer was killed."""
    try:
        return _kind_decoder.decode(line).event not in _KINDS
    except msgspec.ValidationError:
        return False
    except msgspec.DecodeError as error:
        return line.startswith(_EVENT_START) and "truncated" in str(error)
    except (ValueError, RecursionError):
        return False


def may_become_event(beginning: bytes) -> bool:
    """Whether an incomplete line, of which this is the beginning, may be an event that is written or was cut off."""
    start = _EVENT_START[: len(beginning)]
    return beginning.startswith(start)


def _is_possible(at: float) -> bool:
    return 0.0 <= at <= LATEST_TIME


def _with_possible_times(events: list[Event]) -> list[Event]:
    """The events, with impossible times replaced by that of the event before, or of the first with a possible time."""
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
    """The machine of an event; for events of earlier versions it is read from the choices."""
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


def setup_of(event: ChoicesMade) -> ModelSetup:
    """The model's setup in an event; for events of earlier versions it is read from the choices."""
    return setup_in_words(event.choices) if event.setup is None else event.setup


def finite(value: float | None) -> float | None:
    """The value, or None when it is NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None

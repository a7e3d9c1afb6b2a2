"""RunState: a run's state, computed from its events. Live views, history and tests all use it."""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.runs.events import (
    AdapterSaved,
    CheckpointSaved,
    ChoicesMade,
    ChosenMachine,
    DataPrepared,
    Evaluated,
    Event,
    FallbackTaken,
    MemoryShort,
    ModelLoaded,
    OverheadMeasured,
    Phase,
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
    WorkerStarted,
    machine_of,
    setup_of,
)
from tuner_tui.runs.history import Curves, History
from tuner_tui.runs.model_setup import ModelSetup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner_tui.planning.plan import Choice
    from tuner_tui.runs.events import Request

KEPT_SAMPLES = 200
KEPT_EVALUATIONS = 2000
KEPT_NOTES = 200
KEPT_TIMELINE = 1000
NOT_IN_TIMELINE = (StepLogged, Sampled, WorkerStarted, OverheadMeasured)
"""Too many, or nothing that a person asks about."""


class RunSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen copy of a run's state, for screens and commands."""

    attempt: int
    versions: dict[str, str]
    protocol: int
    phase: Phase | None
    phase_detail: str
    step: int
    total_steps: int
    epoch: float
    started_at: float | None
    ended_at: float | None
    last_event_at: float | None
    active_seconds: float
    """From the first start to the last event, without the time between attempts."""
    seconds_left: float | None
    """Until the last step; None before the first one and after the last."""
    tokens: int
    tokens_per_second: float | None
    loss: float | None
    last_step: StepLogged | None
    model: ModelLoaded | None
    data: DataPrepared | None
    training: TrainingStarted | None
    choices: tuple[Choice, ...]
    machine: ChosenMachine | None
    setup: ModelSetup
    evaluations: tuple[Evaluated, ...]
    best_evaluation: Evaluated | None
    samples: tuple[Sampled, ...]
    checkpoints: tuple[CheckpointSaved, ...]
    requests: tuple[RequestAccepted, ...]
    pending: tuple[RequestAccepted, ...]
    """Requests of this attempt that were accepted and not carried out (yet)."""
    warnings: tuple[Warned, ...]
    fallbacks: tuple[FallbackTaken, ...] = msgspec.field(name="rungs")
    skipped: tuple[StepSkipped, ...]
    adapter: AdapterSaved | None
    overhead: OverheadMeasured | None
    profiled: StepsProfiled | None
    ending: RunFinished | RunStopped | RunFailed | None
    curves: Curves


class RunState:
    """Updated event by event; its memory is bounded however long the run is."""

    def __init__(self) -> None:
        self.attempt = 0
        self.endings = 0
        self.versions: dict[str, str] = {}
        self.protocol = 0
        self.worker: WorkerStarted | None = None
        self.phase: Phase | None = None
        self.phase_detail = ""
        self.started_at: float | None = None
        self.last_event_at: float | None = None
        self.idle_seconds = 0.0
        """Time between the attempts: paused, stopped, or waiting to be resumed."""
        self.timeline: deque[Event] = deque(maxlen=KEPT_TIMELINE)
        """What happened, without the steps."""
        self.last_step: StepLogged | None = None
        self.model: ModelLoaded | None = None
        self.data: DataPrepared | None = None
        self.training: TrainingStarted | None = None
        self.choices: dict[str, Choice] = {}
        self.machine: ChosenMachine | None = None
        self.setup = ModelSetup()
        self.evaluations: deque[Evaluated] = deque(maxlen=KEPT_EVALUATIONS)
        self.best_evaluation: Evaluated | None = None
        self.samples: deque[Sampled] = deque(maxlen=KEPT_SAMPLES)
        self.base_samples: dict[int, Sampled] = {}
        self.checkpoints: dict[str, CheckpointSaved] = {}
        self.requests: deque[RequestAccepted] = deque(maxlen=KEPT_NOTES)
        self.pending: deque[RequestAccepted] = deque(maxlen=KEPT_NOTES)
        self.warnings: deque[Warned] = deque(maxlen=KEPT_NOTES)
        self.fallbacks: deque[FallbackTaken] = deque(maxlen=KEPT_NOTES)
        self.skipped: deque[StepSkipped] = deque(maxlen=KEPT_NOTES)
        self.recoverable: MemoryShort | RolledBack | None = None
        """The error that ended the last worker, if another worker may continue."""
        self.leaving: RequestAccepted | None = None
        """The stop or pause request that the worker has accepted."""
        self.adapter: AdapterSaved | None = None
        self.overhead: OverheadMeasured | None = None
        self.profiled: StepsProfiled | None = None
        """The newest profile."""
        self.ending: RunFinished | RunStopped | RunFailed | None = None
        self.history = History()
        self._tokens = 0
        self._recent: deque[StepLogged] = deque(maxlen=50)

    def apply_all(self, events: Iterable[Event]) -> None:
        """Apply many events; consecutive steps are applied at once, which makes long runs quick to open."""
        for kind, group in groupby(events, key=type):
            if kind is StepLogged:
                self._apply_steps([event for event in group if isinstance(event, StepLogged)])
            else:
                for event in group:
                    self.apply(event)

    def apply(self, event: Event) -> None:
        """Apply one event; the only place that interprets events."""
        if isinstance(event, RunStarted) and self.last_event_at is not None:
            self.idle_seconds += max(0.0, event.at - self.last_event_at)
        if not isinstance(event, NOT_IN_TIMELINE):
            self.timeline.append(event)
        self.last_event_at = event.at
        match event:
            case StepLogged():
                self._apply_steps([event])
            case RunStarted():
                self._begin(event)
            case WorkerStarted():
                self.worker = event
                self.recoverable = self.leaving = None
                self.pending.clear()
            case PhaseEntered():
                self.phase, self.phase_detail = event.phase, event.detail
            case ChoicesMade():
                self.choices.update((choice.name, choice) for choice in event.choices)
                self.machine = machine_of(event) or self.machine
                self.setup = self.setup.with_also(setup_of(event))
            case ModelLoaded():
                self.model = event
            case DataPrepared():
                self.data = event
            case TrainingStarted():
                self._rewind(event)
            case Evaluated():
                self.evaluations.append(event)
                if event.is_best:
                    self.best_evaluation = event
            case Sampled():
                if event.source == "base":
                    self.base_samples[event.prompt_index] = event
                else:
                    self.samples.append(event)
                    self._done("sample")
            case CheckpointSaved():
                self.checkpoints[event.path] = event
                if event.reason != "schedule":
                    self._done("save")
            case RequestAccepted():
                self.requests.append(event)
                if not event.is_refused:
                    self.pending.append(event)
                if event.request in ("stop", "pause"):
                    self.leaving = event
            case StepsProfiled():
                self.profiled = event
                self._done("profile")
            case Warned():
                self.warnings.append(event)
            case MemoryShort() | RolledBack():
                self.recoverable = event
            case FallbackTaken():
                self.fallbacks.append(event)
            case StepSkipped():
                self.skipped.append(event)
            case AdapterSaved():
                self.adapter = event
            case OverheadMeasured():
                self.overhead = event
            case RunFinished() | RunStopped() | RunFailed():
                self.ending = event
                self._done("stop", "pause")
                self.endings += 1
                self.phase = None

    @property
    def step(self) -> int:
        """The last completed optimizer step."""
        if self.last_step is not None:
            return self.last_step.step
        return self.training.from_step if self.training else 0

    @property
    def active_seconds(self) -> float:
        """From the first start to the last event, without the time between attempts."""
        if self.started_at is None or self.last_event_at is None:
            return 0.0
        return max(0.0, self.last_event_at - self.started_at - self.idle_seconds)

    @property
    def total_steps(self) -> int:
        return self.training.total_steps if self.training else 0

    @property
    def seconds_per_step(self) -> float | None:
        """Mean time of the last steps, including everything between them."""
        recent = self._recent
        if len(recent) < 2:
            return recent[0].seconds if recent else None
        return (recent[-1].at - recent[0].at) / (len(recent) - 1)

    def snapshot(self) -> RunSnapshot:
        """A frozen copy for a screen or a command."""
        seconds = sum(step.seconds for step in self._recent)
        per_step = self.seconds_per_step
        # After the last step a run evaluates, answers samples and saves; its steps do not say for how long.
        is_moving = self.ending is None and self.training is not None and self.step < self.total_steps
        return RunSnapshot(
            attempt=self.attempt,
            versions=self.versions,
            protocol=self.protocol,
            phase=self.phase,
            phase_detail=self.phase_detail,
            step=self.step,
            total_steps=self.total_steps,
            epoch=self.last_step.epoch if self.last_step else 0.0,
            started_at=self.started_at,
            ended_at=self.ending.at if self.ending else None,
            last_event_at=self.last_event_at,
            active_seconds=self.active_seconds,
            seconds_left=(self.total_steps - self.step) * per_step if is_moving and per_step else None,
            tokens=self._tokens,
            tokens_per_second=sum(step.tokens for step in self._recent) / seconds if seconds else None,
            loss=self.last_step.loss if self.last_step else None,
            last_step=self.last_step,
            model=self.model,
            data=self.data,
            training=self.training,
            choices=tuple(self.choices.values()),
            machine=self.machine,
            setup=self.setup,
            evaluations=tuple(self.evaluations),
            best_evaluation=self.best_evaluation,
            samples=(*self.base_samples.values(), *self.samples),
            checkpoints=tuple(self.checkpoints.values()),
            requests=tuple(self.requests),
            pending=tuple(self.pending),
            warnings=tuple(self.warnings),
            fallbacks=tuple(self.fallbacks),
            skipped=tuple(self.skipped),
            adapter=self.adapter,
            overhead=self.overhead,
            profiled=self.profiled,
            ending=self.ending,
            curves=self.history.curves(),
        )

    def _begin(self, event: RunStarted) -> None:
        self.attempt += 1
        self.protocol = event.protocol
        self.versions = event.versions
        self.worker = None
        self.ending = None
        self.phase = None
        self.pending.clear()
        if self.started_at is None:
            self.started_at = event.at

    def _done(self, *requests: Request) -> None:
        """Requests of these kinds were carried out."""
        left = [accepted for accepted in self.pending if accepted.request not in requests]
        self.pending = deque(left, maxlen=KEPT_NOTES)

    def _rewind(self, event: TrainingStarted) -> None:
        """A run is resumed from a checkpoint: remove the steps after it."""
        is_behind = event.from_step < self.step
        self.training = event
        self._recent.clear()
        if is_behind:
            self.history.rewind(event.from_step)
            self._tokens = self.history.last_tokens
            self.last_step = None
            evaluations = [past for past in self.evaluations if past.step <= event.from_step]
            self.evaluations = deque(evaluations, maxlen=KEPT_EVALUATIONS)
            self.best_evaluation = next((past for past in reversed(evaluations) if past.is_best), None)
            samples = [past for past in self.samples if past.step <= event.from_step]
            self.samples = deque(samples, maxlen=KEPT_SAMPLES)

    def _apply_steps(self, steps: Sequence[StepLogged]) -> None:
        if self.started_at is None:
            self.started_at = steps[0].at
        begins_at = self.started_at + self.idle_seconds
        tokens, total = [], self._tokens
        for step in steps:
            total += step.tokens
            tokens.append(total)
        measures: dict[str, Sequence[float | None]] = {
            "loss": [step.loss for step in steps],
            "grad_norm": [step.grad_norm for step in steps],
            "learning_rate": [step.learning_rate for step in steps],
            "tokens_per_second": [step.tokens / step.seconds if step.seconds else None for step in steps],
        }
        names = dict.fromkeys(name for step in steps for name in step.metrics)
        measures |= {name: [step.metrics.get(name) for step in steps] for name in names}
        self.history.extend(
            [step.step for step in steps], tokens, [step.at - begins_at for step in steps], measures
        )
        self._tokens = total
        self._recent.extend(steps[-50:])
        self.last_step = steps[-1]
        self.last_event_at = steps[-1].at

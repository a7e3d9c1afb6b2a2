"""The context of one training attempt: run folder, spec, plan, events, and requests from the user."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.planning.plan import planned
from tuner_tui.runs.control import ControlRequest, take_requests
from tuner_tui.runs.events import NEVER, Event, Phase, PhaseEntered, Request, RequestAccepted, Warned
from tuner_tui.runs.folder import LOCK_FILE
from tuner_tui.worker.run_folder import FolderHere, LockHere, current_place

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.oom_fallback import Shape
    from tuner_tui.planning.plan import Plan
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.journal import EventWriter

POLL_SECONDS = 0.25
LAST_PATIENCE_SECONDS = 10.0
"""How long a finished worker retries writing its last event on a full disk; the keeper writes it after that."""
_log = logging.getLogger(__name__)


class StopRequested(Exception):
    """The run was asked to stop before its first step."""


@dataclass
class Times:
    """Seconds spent outside of steps."""

    steps: float = 0.0
    callbacks: float = 0.0
    samples: float = 0.0
    evaluations: float = 0.0
    checkpoints: float = 0.0


@dataclass
class Job:
    """One attempt at a run."""

    folder: RunFolder
    spec: RunSpec
    plan: Plan
    events: EventWriter
    resume_from: Path | None = None
    """The checkpoint to resume from."""
    checkpoint: str | None = None
    """The name of the newest checkpoint that is known to be complete."""
    corrupt: set[str] = field(default_factory=set)
    """Names of corrupt checkpoints, which cannot be resumed from."""
    started: float = field(default_factory=time.monotonic)
    times: Times = field(default_factory=Times)
    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    """Set together with `stop` when the run only frees the GPU for a while."""
    save: threading.Event = field(default_factory=threading.Event)
    sample: threading.Event = field(default_factory=threading.Event)
    profile: threading.Event = field(default_factory=threading.Event)
    can_sample: bool = True
    """Whether this model answers prompts while it trains; known once it is loaded."""
    phase: Phase = "loading"
    step: int = 0
    """The last step made by this worker; 0 before."""
    shape: Shape | None = None
    """Micro-batch and checkpointing, once they are resolved."""
    skipped: set[int] = field(default_factory=set)
    """Steps whose rows were skipped."""
    baseline_bytes: int = 0
    """Resident memory before the model was loaded."""
    data_fingerprint: str = ""
    """Fingerprint of the prepared training rows, so that a resumed run detects changed rows."""
    held_out_fingerprint: str = ""
    """Fingerprint of the prepared evaluation rows; empty if there are none."""
    _unwritten: deque[Event] = field(default_factory=deque)
    _said_unwritten: int = 0
    _emitting: threading.Lock = field(default_factory=threading.Lock)

    def emit(self, event: Event) -> None:
        """Append to the run's events. On a full disk they are buffered until the next one, and training continues."""
        with self._emitting:
            self._unwritten.append(msgspec.structs.replace(event, at=time.time()))
        self.flush()

    def emit_last(self, ending: Event, patience_seconds: float = LAST_PATIENCE_SECONDS) -> None:
        """Append the last event; retried for a while if the disk is full."""
        self.emit(ending)
        deadline = time.monotonic() + patience_seconds
        while self._unwritten and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            self.flush()

    def flush(self) -> None:
        """Write the events that did not fit on the disk before."""
        with self._emitting:
            try:
                while self._unwritten:
                    self.events.write(self._unwritten[0])
                    self._unwritten.popleft()
            except OSError as error:
                if len(self._unwritten) != self._said_unwritten:
                    self._said_unwritten = len(self._unwritten)
                    _log.error("%d events are buffered: %s", len(self._unwritten), error)

    def enter(self, phase: Phase, detail: str = "") -> None:
        """Enter a phase; stops here if that was requested before the first step. Raises StopRequested."""
        if self.stop.is_set() and phase != "saving":
            raise StopRequested
        self.phase = phase
        self.emit(PhaseEntered(phase=phase, detail=detail))

    def warn(self, message: str, hint: str = "") -> None:
        """Report something that does not end the run."""
        self.emit(Warned(message=message, hint=hint))

    def newest_checkpoint(self) -> str | None:
        """The name of the checkpoint that a run that ends now can be resumed from."""
        name = self.checkpoint
        return name if name is not None and (self.folder.checkpoints / name).is_dir() else None

    @cached_property
    def planned(self) -> RunSpec:
        """The spec with its open settings filled in by the memory plan."""
        return planned(self.spec, self.plan)

    @property
    def seconds(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self.started


class RequestWatcher(threading.Thread):
    """Accepts requests, also during a long step, and sets the flags that the training loop reads."""

    def __init__(self, job: Job) -> None:
        super().__init__(name="requests", daemon=True)
        self._job = job
        self._leaving = threading.Event()
        self._place = job.folder.place
        self._is_gone = False
        self._lock = _lock_here(job.folder)

    def run(self) -> None:
        while not self._leaving.wait(POLL_SECONDS):
            self._look_at_folder()
            self._look_at_lock()
            for request in take_requests(self._job.folder):
                self._accept(request)

    def close(self) -> None:
        """Stop watching."""
        self._leaving.set()
        self.join()

    def _look_at_folder(self) -> None:
        """Report a renamed or moved folder; stop if it was deleted, since no result could be saved."""
        if not isinstance(self._job.folder, FolderHere):
            return
        place = current_place()
        if place is None:
            if not self._is_gone:
                self._is_gone = True
                _log.error("the run's folder was deleted: the run stops")
                self._job.stop.set()
        elif place != self._place:
            self._place = place
            hint = "The run continues there."
            if place.parent != self._job.folder.first_place.parent:  # no command looks for runs there
                hint += f" Commands do not find it there: move it back, or stop it with: kill {os.getpid()}"
            self._job.warn(f"The run's folder was moved: it is {place} now.", hint)

    def _look_at_lock(self) -> None:
        try:
            if self._lock is not None and self._lock.look():
                self._job.warn(
                    "The run's lock file was deleted or replaced; it was created again.",
                    f"Leave {LOCK_FILE} in the run's folder: it keeps a second worker from starting on the run.",
                )
        except OSError as error:  # checked again the next time
            _log.warning("the run's lock: %s", error)

    def _accept(self, request: ControlRequest) -> None:
        with contextlib.suppress(OSError):  # a full disk: the request is carried out all the same
            self._job.emit(
                RequestAccepted(
                    id=request.id,
                    request=request.request,
                    takes_effect=when_it_takes_effect(self._job, request.request),
                )
            )
        if request.request == "pause":
            self._job.pause.set()
        job = self._job
        flags: dict[Request, threading.Event] = {
            "stop": job.stop, "pause": job.stop, "save": job.save, "sample": job.sample, "profile": job.profile,
        }  # fmt: skip
        flags[request.request].set()


def _lock_here(folder: RunFolder) -> LockHere | None:
    try:
        return LockHere() if isinstance(folder, FolderHere) else None
    except OSError as error:
        _log.warning("the run's lock: %s", error)
        return None


def when_it_takes_effect(job: Job, request: Request) -> str:
    """A description of when a request made now will be carried out; it begins with "never" if it will not be."""
    if request == "sample" and not (job.can_sample and job.spec.samples.prompts):
        return f"{NEVER}this run has no samples.prompts to answer"
    if request in ("save", "sample", "profile"):
        if job.stop.is_set():
            return f"{NEVER}the run is already stopping"
        if job.phase in ("loading", "preparing"):
            return "after the first steps" if request == "profile" else "after the first step"
    match job.phase:
        case "loading":
            return "when the model is loaded"
        case "preparing":
            return "when the data is prepared"
        case "saving":
            return f"{NEVER}the run is already saving its result"
        case "evaluating" | "sampling":
            return f"when {job.phase} ends, after step {job.step}"
        case "training":
            return f"after step {job.step + 1}"

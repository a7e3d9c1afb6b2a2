"""Run summaries for lists, stored in the run's folder when it ends so that lists are quick."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import msgspec

from tuner_tui import guarded
from tuner_tui.files import write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import LATEST_TIME, Count, RunFailed
from tuner_tui.runs.problems import ProblemsReader, in_one_line
from tuner_tui.runs.spec_facts import SpecFacts, read_spec_facts
from tuner_tui.runs.status import LIVE, RunFollower, Status, read_run

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.history import Curves

SUMMARY_FILE = "summary.json"
CURVE_POINTS = 32
Moment = Annotated[float, msgspec.Meta(ge=0, le=LATEST_TIME)]


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The values that lists show of a run."""

    status: Status
    step: Count = 0
    total_steps: Count = 0
    loss: float | None = None
    loss_curve: tuple[float, ...] = ()
    """Mean losses of at most CURVE_POINTS sections of the run; sections without a finite loss are omitted."""
    model: str | None = None
    """As the worker loaded it; before that, as the spec names it."""
    data: str = ""
    method: str = ""
    tuning: str = ""
    """These three from the spec; empty where it cannot be read."""
    started_at: Moment | None = None
    ended_at: Moment | None = None
    idle_seconds: Annotated[float, msgspec.Meta(ge=0, le=LATEST_TIME)] = 0.0
    """Time between its attempts, such as pauses; 0 in summaries of earlier versions."""
    seconds_left: float | None = None
    failure: str = ""
    problem: str = ""
    """The folder's problem in a few words; empty if all files can be read."""
    is_damaged: bool = False
    """Whether the problem prevents resuming the run."""
    events_bytes: int = 0
    """The size of events.jsonl when this was computed."""

    @property
    def words(self) -> str:
        """What is searched for a word, beside the name and the note."""
        known = (self.status, self.method, self.tuning, self.model, self.data, self.failure, self.problem)
        return " ".join(filter(None, known))

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def can_resume(self) -> bool:
        return self.status in ("paused", "stopped", "failed", "interrupted") and not self.is_damaged


def summarise(follower: RunFollower, facts: SpecFacts, events_bytes: int = 0) -> RunSummary:
    """The summary of a run from its events and the facts of its spec, without problems of other files."""
    state = follower.state
    ending = state.ending
    snapshot = state.snapshot()
    return RunSummary(
        status=follower.status,
        step=state.step,
        total_steps=state.total_steps,
        loss=state.last_step.loss if state.last_step else None,
        loss_curve=_thinned(snapshot.curves),
        model=(state.model.source if state.model else facts.model) or None,
        data=facts.data,
        method=facts.method,
        tuning=facts.tuning,
        started_at=state.started_at,
        ended_at=ending.at if ending else None,
        idle_seconds=state.idle_seconds,
        seconds_left=snapshot.seconds_left,
        failure=ending.title if isinstance(ending, RunFailed) else "",
        problem=follower.problem,
        is_damaged=follower.is_damaged,
        events_bytes=events_bytes,
    )


def write_summary(folder: RunFolder) -> None:
    """Store the summary of an ended run for lists; if that fails, lists read the events."""
    with contextlib.suppress(OSError):
        events_bytes = folder.events.stat().st_size
        summary = summarise(read_run(folder), read_spec_facts(folder.spec), events_bytes)
        if not summary.is_live and summary.status != "interrupted":
            write_atomic(folder.path / SUMMARY_FILE, msgspec.json.encode(summary))


class SummaryReader:
    """Reads summaries repeatedly at low cost: unchanged runs are not read again."""

    def __init__(self) -> None:
        self._ended: dict[str, RunSummary] = {}
        """Summaries of runs that are not live, regardless of the queue."""
        self._live: dict[str, RunFollower] = {}
        self._problems = ProblemsReader()
        self._facts: dict[str, SpecFacts] = {}

    def read(self, folder: RunFolder, queued: Collection[str]) -> RunSummary:
        """The run's current summary; `queued` are the names of queued runs (queue.queued_names())."""
        try:
            summary = self._read(folder, queued)
        except OSError as error:
            return RunSummary(
                status="interrupted", problem=error.strerror or "cannot be read", is_damaged=True
            )
        file_problems = self._problems.read(folder)
        queue_problem = queue.problems().get(folder.name, "") if folder.name in queued else ""
        if not file_problems and not queue_problem:
            return summary
        return msgspec.structs.replace(
            summary,
            problem=in_one_line(
                (queue_problem, *(problem.words for problem in file_problems), summary.problem)
            ),
            is_damaged=summary.is_damaged or any(problem.is_vital for problem in file_problems),
        )

    def _facts_of(self, folder: RunFolder) -> SpecFacts:
        """What the spec says, which never changes."""
        facts = self._facts.get(folder.name)
        if facts is None:
            facts = self._facts[folder.name] = read_spec_facts(folder.spec)
        return facts

    def _stored(self, folder: RunFolder) -> RunSummary | None:
        """The stored summary, if it can be read; those of earlier versions lack the facts of the spec."""
        try:
            stored = guarded.read_json(folder.path / SUMMARY_FILE, RunSummary)
        except Unreadable:  # missing, damaged or of another version: read the events instead
            return None
        if stored.method:
            return stored
        model, data, method, tuning = self._facts_of(folder)
        return msgspec.structs.replace(
            stored, model=stored.model or model or None, data=data, method=method, tuning=tuning
        )

    def _read(self, folder: RunFolder, queued: Collection[str]) -> RunSummary:
        events_bytes = _events_bytes(folder)
        if folder.name not in self._live:
            known = self._ended.get(folder.name) or self._stored(folder)
            if (
                known is not None
                and known.events_bytes == events_bytes
                and not self._has_woken(folder, known)
            ):
                self._ended[folder.name] = known
                return msgspec.structs.replace(known, status="queued") if folder.name in queued else known
        follower = self._live.setdefault(folder.name, RunFollower(folder))
        follower.poll()
        summary = summarise(follower, self._facts_of(folder), events_bytes or 0)
        if not summary.is_live:
            del self._live[folder.name]
            self._ended[folder.name] = summary
        return summary

    def _has_woken(self, folder: RunFolder, known: RunSummary) -> bool:
        """Whether a run without a terminal event is live again though it has written nothing yet."""
        return known.status == "interrupted" and lock.is_held(folder.lock)


def _thinned(curves: Curves) -> tuple[float, ...]:
    """The loss as at most CURVE_POINTS means over equally many buckets."""
    if "loss" not in curves.measures:
        return ()
    losses = curves.measures["loss"].mean
    section = -(-len(losses) // CURVE_POINTS)
    sections = [losses[start : start + section] for start in range(0, len(losses), section)]
    finite = [[loss for loss in part if loss is not None] for part in sections]
    return tuple(round(sum(part) / len(part), 4) for part in finite if part)


def _events_bytes(folder: RunFolder) -> int | None:
    try:
        return folder.events.stat().st_size
    except OSError:
        return None

"""Follows one run in a thread and posts complete, frozen snapshots, at most four a second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from textual.message import Message

from tuner_tui.files import last_lines
from tuner_tui.hardware.telemetry import TelemetrySample
from tuner_tui.keeper.start import adopt_if_needed
from tuner_tui.keeper.waiting import Line
from tuner_tui.runs.profiles import PROFILE_FILE, read_profile
from tuner_tui.runs.status import LIVE, RunFollower

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.profiling.profile import Profile
    from tuner_tui.runs.events import Event, StepsProfiled
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunSnapshot
    from tuner_tui.runs.status import Status

POLL_SECONDS = 0.25
ADOPT_EVERY_POLLS = 20
WAITS_EVERY_SECONDS = 2.0
TELEMETRY_SAMPLES = 240
TELEMETRY_TAIL_BYTES = 128 * 1024
LOG_LINES = 2000
LOG_TAIL_BYTES = 512 * 1024


@dataclass(frozen=True)
class RunView:
    """A snapshot of a run and its other files: everything a screen shows."""

    folder: RunFolder
    status: Status
    run: RunSnapshot
    telemetry: tuple[TelemetrySample, ...]
    """The last few minutes, one a second."""
    timeline: tuple[Event, ...]
    """What happened, without the steps."""
    log: tuple[str, ...]
    """The log's last lines."""
    log_bytes: int
    problem: str = ""
    """Why the folder cannot be read, empty when it can."""
    waits: str = ""
    """What a queued run waits for, empty when that is not known."""
    profile: Profile | None = None
    """Where the time of its steps went, if that was measured."""

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def can_resume(self) -> bool:
        return self.status in ("paused", "stopped", "failed", "interrupted")


class RunViewed(Message):
    """The run has changed."""

    def __init__(self, view: RunView) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunViewed)


class RunWatch:
    """One thread's work: reads the run's files and posts a view whenever one has changed."""

    def __init__(self, folder: RunFolder, post: Callable[[Message], object]) -> None:
        self._post = post
        self._follower = RunFollower(folder)
        self._ended = threading.Event()
        self._run: RunSnapshot | None = None
        self._timeline: tuple[Event, ...] = ()
        self._telemetry: tuple[TelemetrySample, ...] = ()
        self._log: tuple[str, ...] = ()
        self._seen: dict[Path, int] = {}
        self._shown: tuple[Status, str, str] | None = None
        self._line = Line()
        self._waits = ""
        self._profile: Profile | None = None
        self._profiled: StepsProfiled | None = None
        self._line_read_at = -WAITS_EVERY_SECONDS

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        """Read until stopped."""
        polls = 0
        while not self._ended.is_set():
            if (view := self.look()) is not None:
                self._post(RunViewed(view))
            if polls % ADOPT_EVERY_POLLS == 0 and self._follower.status in LIVE:
                self._adopt()
            polls += 1
            self._ended.wait(POLL_SECONDS)

    def look(self) -> RunView | None:
        """The run now; None when nothing is new."""
        folder, problem = self._follower.folder, ""
        has_news = self._run is None
        try:
            grew = self._has_changed(folder.events)  # before reading, so that later changes are noticed
            self._follower.poll()
            folder = self._follower.folder  # it may have been renamed
            if grew or self._run is None:
                self._run, has_news = self._follower.state.snapshot(), True
                self._timeline = tuple(self._follower.state.timeline)
            newest = self._run.profiled
            if self._has_changed(folder.path / PROFILE_FILE) or newest is not self._profiled:
                self._profile, self._profiled, has_news = read_profile(folder.path), newest, True
            if self._has_changed(folder.telemetry):
                self._telemetry, has_news = _telemetry_tail(folder.telemetry), True
            if self._has_changed(folder.log):
                self._log, has_news = tuple(last_lines(folder.log, LOG_LINES, LOG_TAIL_BYTES)), True
            problem = self._follower.problem
        except OSError as error:
            problem = error.strerror or "it cannot be read"
        if not folder.path.is_dir():
            problem = "its folder is missing"
        shown = (self._follower.status, problem, self._look_at_queue())
        if not has_news and shown == self._shown:
            return None
        self._shown = shown
        run = self._run if self._run is not None else self._follower.state.snapshot()
        log_bytes = self._seen.get(folder.log, 0)
        status = self._follower.status
        return RunView(
            folder,
            status,
            run,
            self._telemetry,
            self._timeline,
            self._log,
            log_bytes,
            problem,
            self._waits,
            self._profile,
        )

    def _look_at_queue(self) -> str:
        """What a queued run waits for, read every few seconds."""
        if self._follower.status != "queued":
            self._waits = ""
        elif time.monotonic() - self._line_read_at >= WAITS_EVERY_SECONDS:
            self._line_read_at = time.monotonic()
            self._waits = self._line.words(self._follower.folder)
        return self._waits

    def _has_changed(self, path: Path) -> bool:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = 0
        changed = self._seen.get(path) != size
        self._seen[path] = size
        return changed

    def _adopt(self) -> None:
        """Start a new keeper for a run whose keeper died; if that is not permitted, only watch."""
        try:
            adopt_if_needed(self._follower.folder)
        except OSError:
            return


def _telemetry_tail(path: Path) -> tuple[TelemetrySample, ...]:
    samples = []
    for line in last_lines(path, TELEMETRY_SAMPLES, TELEMETRY_TAIL_BYTES):
        try:
            samples.append(msgspec.json.decode(line, type=TelemetrySample))
        except (ValueError, RecursionError):  # incomplete, or of a newer version
            continue
    return tuple(samples)

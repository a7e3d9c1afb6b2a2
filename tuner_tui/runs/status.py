"""The status of a run, from its events, its lock and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tuner_tui.files import LineFollower
from tuner_tui.guarded import Unreadable
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunFinished, RunStopped, decode_all, may_become_event
from tuner_tui.runs.folder import find_moved
from tuner_tui.runs.state import RunState
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder

Status = Literal["queued", "starting", "running", "finished", "paused", "stopped", "failed", "interrupted"]
LIVE: tuple[Status, ...] = ("queued", "starting", "running")


class RunFollower:
    """Follows a run's events and computes its state; the same for live and finished runs."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.state = RunState()
        self.status: Status = "interrupted"
        self._unreadable = ""
        self._unreadable_lines = 0
        self._impossible_times = 0
        self._lines = LineFollower(folder.events)
        self._lock_identity = lock.identity(folder.lock)

    def poll(self) -> Status:
        """Apply new events and return the current status; a renamed folder is followed."""
        if not self.folder.path.is_dir() and (moved := find_moved(self._lock_identity)) is not None:
            self.folder = moved
            self._lines.path = moved.events
        # In this order: a run leaves the queue when its lock is held and its attempt's first event is written,
        # and a worker writes its last event before it releases the lock.
        is_queued = queue.is_queued(self.folder.name)
        is_held = lock.is_held(self.folder.lock)
        try:
            while lines := self._lines.read():
                decoded = decode_all(lines)
                self._unreadable_lines += decoded.unreadable_lines
                self._impossible_times += decoded.impossible_times
                self.state.apply_all(decoded.events)
            self._unreadable = ""
        except Unreadable as error:
            self._unreadable = error.named_problem
        self.status = self._status(is_held, is_queued)
        return self.status

    @property
    def problem(self) -> str:
        """The events' problem in a few words; empty if all can be read."""
        if self._unreadable:
            return self._unreadable
        if self.state.protocol > PROTOCOL:
            return "made by a newer tuner-tui"
        bad_lines = self._unreadable_lines + self._lines.skipped_lines
        bad_lines += not may_become_event(self._lines.incomplete)
        if bad_lines:
            return f"{self.folder.events.name}: {counted(bad_lines, 'line')} cannot be read"
        if self._impossible_times:
            return f"{self.folder.events.name}: impossible times ({self._impossible_times})"
        return ""

    @property
    def is_damaged(self) -> bool:
        """Whether the events' problem prevents resuming the run."""
        return bool(self._unreadable) or self.state.protocol > PROTOCOL

    @property
    def can_resume(self) -> bool:
        """Whether the run has ended and can be resumed."""
        return self.status in ("paused", "stopped", "failed", "interrupted")

    def _status(self, is_held: bool, is_queued: bool) -> Status:
        if is_queued and (self.state.ending is not None or not is_held or queue.is_waiting(self.folder.name)):
            return "queued"
        match self.state.ending:
            case RunFinished():
                return "finished"
            case RunStopped(is_pause=True):
                return "paused"
            case RunStopped():
                return "stopped"
            case RunFailed():
                return "failed"
        if not is_held:
            return "interrupted"
        return "running" if self.state.worker else "starting"


def read_run(folder: RunFolder) -> RunFollower:
    """A run's current state."""
    follower = RunFollower(folder)
    follower.poll()
    return follower

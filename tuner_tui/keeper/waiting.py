"""The queue's state: which runs wait, for what, and which is next; used by the keeper, screens and commands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuner_tui.config import paths
from tuner_tui.hardware.free_memory import FreeMemory, read_free_memory
from tuner_tui.keeper.heartbeat import keeper_words
from tuner_tui.keeper.obstacle import find_obstacle
from tuner_tui.runs import lock, queue
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.summary import SummaryReader
from tuner_tui.text import plain, size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tuner_tui.runs.queue import QueueEntry

KEEPER_LOCK_FILE = "keeper.lock"
QueueState = Literal["ready", "short", "behind", "skipped", "blocked"]
"""It can start; too little memory is free; the run before it has not finished; the run before it never will; its lock,
its folder or the disk prevents the start."""


@dataclass(frozen=True)
class Place:
    """One queued run."""

    path: Path
    entry: QueueEntry
    folder: RunFolder
    state: QueueState
    reason: str = ""
    """Why it cannot start; empty if it can."""


class Line:
    """Reads the queue repeatedly at low cost."""

    def __init__(self, read_free: Callable[[str], FreeMemory] = read_free_memory) -> None:
        self._read_free = read_free
        self._summaries = SummaryReader()

    def places(self) -> list[Place]:
        """All queued runs, in order. The GPU driver is queried only if a run waits for memory.

        If the keeper prevents the start, runs that could start give that as their reason.
        """
        places = [self._place(path, entry) for path, entry in queue.entries()]
        has_turn = places and not queue.is_on_hold()
        words = keeper_words(paths.data_dir() / KEEPER_LOCK_FILE) if has_turn else ""
        return [
            dataclasses.replace(place, reason=words) if place.state == "ready" and words else place
            for place in places
        ]

    def words(self, folder: RunFolder) -> str:
        """What a run waits for, in a few words; empty if it is not queued or starts next."""
        if queue.is_on_hold():
            return hold_words()
        for number, place in enumerate(self.places(), 1):
            if place.folder.name == folder.name:
                if place.reason or number == 1:
                    return place.reason or _turn_words(folder)
                return f"number {number} in the queue"
        return queue.problems().get(folder.name, "")

    def next(self, passed_over: Collection[str] = ()) -> Place | None:
        """The first run that can start, waits for memory, or is to be skipped; None if no run can start by waiting.

        A run that waits for memory blocks those behind it, so that small runs never starve a large one. A run that
        waits for another run, is blocked, or is in `passed_over` (stems of queue entries) does not; a blocked one is
        returned if there is no other, since it can start as soon as the obstacle is gone.
        """
        if queue.is_on_hold():
            return None
        blocked = None
        for path, entry in queue.entries():
            place = self._place(path, entry)
            if path.stem in passed_over and place.state != "behind":
                place = dataclasses.replace(place, state="blocked")
            if place.state == "blocked":
                blocked = blocked or place
            elif place.state != "behind":
                return place
        return blocked

    def _place(self, path: Path, entry: QueueEntry) -> Place:
        """How an entry stands; one that cannot be looked at is blocked, and keeps nobody else from starting."""
        try:
            return self._looked_at(path, entry)
        except (OSError, ValueError) as error:
            reason = f"its run cannot be read: {plain(str(error))}"
            return Place(path, entry, RunFolder(Path(entry.folder)), "blocked", reason)

    def _looked_at(self, path: Path, entry: QueueEntry) -> Place:
        folder = RunFolder(Path(entry.folder))
        state: QueueState = "ready"
        reason = ""
        if (first := queue.awaited(entry)) is not None:
            state, reason = self._behind(first)
        if state == "ready" and (obstacle := find_obstacle(folder)):
            return Place(path, entry, folder, "blocked", obstacle)
        if state == "ready" and entry.needs_bytes is not None:
            reason = shortage(entry.needs_bytes, self._read_free(entry.device))
            state = "short" if reason else "ready"
        return Place(path, entry, folder, state, reason)

    def _behind(self, first: RunFolder) -> tuple[QueueState, str]:
        """The state of a run that waits for another one."""
        after = first.name
        if not first.path.is_dir():
            return "skipped", f"It was to start after {after}, which was deleted."
        before = self._summaries.read(first, queue.queued_names())
        match before.status:
            case "finished":
                return "ready", ""
            case "failed":
                why = f": {before.failure}" if before.failure else ""
                return "skipped", f"It was to start after {after}, which failed{why}."
            case "paused" | "stopped" | "interrupted":
                return (
                    "behind",
                    f"waits for {after}, which is {before.status}; resume that run, or remove this one",
                )
        return "behind", f"waits for {after} to finish"


def _turn_words(first: RunFolder) -> str:
    """What the first run in the queue waits for, if another one is running."""
    others = (run for run in list_runs() if run.name != first.name)
    running = next((run.name for run in others if lock.is_held(run.lock)), None)
    return f"starts when {running} has ended" if running else ""


def hold_words() -> str:
    """Why nothing starts while the queue is on hold, and how to release it."""
    paused = queue.held_for()
    why = f" while {paused} is paused; resume that run, or" if paused else ";"
    return f"the queue is on hold{why} release it: tuner-tui queue go"


def shortage(needs_bytes: int, free: FreeMemory) -> str:
    """How much memory is missing; empty if there is enough, if unknown, and if there can never be enough."""
    if free.free_bytes is None or free.free_bytes >= needs_bytes:
        return ""
    if free.total_bytes is not None and free.total_bytes < needs_bytes:
        return ""  # waiting would not help: the run itself reports that it does not fit
    holder = f"; {free.holders[0][0]} uses {size(free.holders[0][1])}" if free.holders else ""
    return f"needs {size(needs_bytes)} of {free.where}, and {size(free.free_bytes)} are free{holder}"


def has_work() -> bool:
    """Whether a keeper has something to do: a run to start, to wait for memory with, or to skip."""
    return Line(_unasked).next() is not None


def _unasked(device: str) -> FreeMemory:
    """A substitute for querying the GPU driver, where memory does not matter."""
    return FreeMemory(False, device, None, None)

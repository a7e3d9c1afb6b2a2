"""Whose turn it is: who waits, for what, and what the keeper does next. The keeper and those who look ask alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuner_tui.config import paths
from tuner_tui.hardware.free_memory import FreeMemory, read_free_memory
from tuner_tui.keeper.heartbeat import keeper_words
from tuner_tui.keeper.obstacle import find_obstacle
from tuner_tui.runs import queue
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.summary import SummaryReader
from tuner_tui.text import plain, size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tuner_tui.runs.queue import QueueEntry

KEEPER_LOCK_FILE = "keeper.lock"
Standing = Literal["ready", "short", "behind", "skipped", "blocked"]
"""It may start; memory is short; the run before it has not finished; the run before it never will; its lock, its
folder or the disk does not let it start."""


@dataclass(frozen=True)
class Place:
    """One run in line."""

    path: Path
    entry: QueueEntry
    folder: RunFolder
    standing: Standing
    reason: str = ""
    """Why it does not start when its turn comes; empty when it does."""


class Line:
    """Looks at the queue again and again at little cost."""

    def __init__(self, read_free: Callable[[str], FreeMemory] = read_free_memory) -> None:
        self._read_free = read_free
        self._summaries = SummaryReader()

    def places(self) -> list[Place]:
        """Everybody in line, in order. The card's driver is asked only if someone waits for memory.

        Where the keeper is why nothing starts, those whose turn it is say so.
        """
        places = [self._place(path, entry) for path, entry in queue.entries()]
        has_turn = places and not queue.is_on_hold()
        words = keeper_words(paths.data_dir() / KEEPER_LOCK_FILE) if has_turn else ""
        return [
            dataclasses.replace(place, reason=words) if place.standing == "ready" and words else place
            for place in places
        ]

    def words(self, folder: RunFolder) -> str:
        """What a run waits for, in a few words; empty when it does not wait, or its turn comes at once."""
        if queue.is_on_hold():
            return hold_words()
        for number, place in enumerate(self.places(), 1):
            if place.folder.name == folder.name:
                return place.reason or (f"number {number} in line" if number > 1 else "")
        return queue.problems().get(folder.name, "")

    def next(self, passed_over: Collection[str] = ()) -> Place | None:
        """The first that starts, waits for memory, or is to be skipped; None when nobody's turn will come by itself.

        Who waits for memory keeps those behind it waiting, so that a small run never starves a large one. Who waits
        for another run, is blocked or is `passed_over` (stems of queue entries) does not; a blocked one is given
        when there is nobody else, since its turn comes as soon as what is in its way has gone.
        """
        if queue.is_on_hold():
            return None
        blocked = None
        for path, entry in queue.entries():
            place = self._place(path, entry)
            if path.stem in passed_over and place.standing != "behind":
                place = dataclasses.replace(place, standing="blocked")
            if place.standing == "blocked":
                blocked = blocked or place
            elif place.standing != "behind":
                return place
        return blocked

    def _place(self, path: Path, entry: QueueEntry) -> Place:
        """How an entry stands; one that cannot be looked at is blocked, and keeps nobody else from starting."""
        try:
            return self._looked_at(path, entry)
        except (OSError, ValueError) as error:
            reason = f"its run cannot be looked at: {plain(str(error))}"
            return Place(path, entry, RunFolder(Path(entry.folder)), "blocked", reason)

    def _looked_at(self, path: Path, entry: QueueEntry) -> Place:
        folder = RunFolder(Path(entry.folder))
        standing: Standing = "ready"
        reason = ""
        if (first := queue.awaited(entry)) is not None:
            standing, reason = self._behind(first)
        if standing == "ready" and (obstacle := find_obstacle(folder)):
            return Place(path, entry, folder, "blocked", obstacle)
        if standing == "ready" and entry.needs_bytes is not None:
            reason = shortage(entry.needs_bytes, self._read_free(entry.device))
            standing = "short" if reason else "ready"
        return Place(path, entry, folder, standing, reason)

    def _behind(self, first: RunFolder) -> tuple[Standing, str]:
        """How a run stands that waits for another one."""
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
                    f"waits for {after}, which is {before.status}; resume that, or take this one out",
                )
        return "behind", f"waits for {after} to finish"


def hold_words() -> str:
    """Why nothing starts while the queue is on hold, and how it goes on."""
    paused = queue.held_for()
    why = f" while {paused} is paused; resume that, or" if paused else ";"
    return f"the queue is on hold{why} go on with: tuner-tui queue go"


def shortage(needs_bytes: int, free: FreeMemory) -> str:
    """What is missing, in words; empty when there is enough, when nobody knows, and when there never can be."""
    if free.free_bytes is None or free.free_bytes >= needs_bytes:
        return ""
    if free.total_bytes is not None and free.total_bytes < needs_bytes:
        return ""  # waiting would not help: the run itself says what does not fit
    holder = f"; {free.holders[0][0]} holds {size(free.holders[0][1])}" if free.holders else ""
    return f"needs {size(needs_bytes)} of {free.where}, and {size(free.free_bytes)} are free{holder}"


def has_work() -> bool:
    """Whether a keeper would find something to do: to start, to wait for memory with, or to skip."""
    return Line(_unasked).next() is not None


def _unasked(device: str) -> FreeMemory:
    """In place of asking the card's driver: whether there is enough memory does not matter."""
    return FreeMemory(False, device, None, None)

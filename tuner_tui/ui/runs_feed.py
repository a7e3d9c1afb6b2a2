"""Keeps the list of runs current in a thread: visible and live ones first, the rest when idle."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from textual.message import Message

from tuner_tui.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary, SummaryReader

LOOK_EVERY_SECONDS = 1.0
REVIVE_EVERY_SECONDS = 10.0
SHARE_SECONDS, PAUSE_SECONDS = 0.02, 0.1
"""How long the other runs are read at a time, and the pause after it."""
SHOW_EVERY_SECONDS = 0.1


class RunsListed(Message):
    """All current runs, the newest first."""

    def __init__(self, folders: tuple[RunFolder, ...]) -> None:
        super().__init__()
        self.folders = folders

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsListed)


class SummariesRead(Message):
    """All summaries that are known so far, by the runs' names."""

    def __init__(self, summaries: Mapping[str, RunSummary]) -> None:
        super().__init__()
        self.summaries = summaries

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, SummariesRead)


class RunEnded(Message):
    """A live run has ended."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder


class RunsFeed:
    """One thread's work; screens set `in_view` and `is_paused`, and get messages."""

    def __init__(self, post: Callable[[Message], object], folders: tuple[RunFolder, ...]) -> None:
        self.in_view: tuple[RunFolder, ...] = ()
        self.is_paused = False
        self._post = post
        self._folders = folders
        self._summaries: dict[str, RunSummary] = {}
        self._unread: list[RunFolder] = []
        self._live: set[RunFolder] = set()
        self._listed_at = -1
        self._has_ended = False
        self._revived_at = time.monotonic()
        self._wake = threading.Event()

    def wake(self) -> None:
        """Read at once."""
        self._wake.set()

    def end(self) -> None:
        self._has_ended = True
        self._wake.set()

    def run(self) -> None:
        """Read until the end."""
        from tuner_tui.runs.summary import SummaryReader

        reader = SummaryReader()
        self._unread = list(reversed(self._folders))
        while not self._has_ended:
            self._wake.clear()
            self._list()
            self._read(reader, self._first())
            self._revive_keeper()
            if not self.is_paused:
                self._read(reader, self._some_of_the_rest(), SHARE_SECONDS)
            is_busy = bool(self._unread) and not self.is_paused
            self._wake.wait(PAUSE_SECONDS if is_busy else LOOK_EVERY_SECONDS)

    def _list(self) -> None:
        """List the runs again when their folder's modification time has changed."""
        from tuner_tui.config import paths
        from tuner_tui.runs.folder import list_runs

        try:
            changed_at = paths.runs_dir().stat().st_mtime_ns
        except OSError:
            changed_at = 0
        if changed_at == self._listed_at:
            return
        self._listed_at = changed_at
        folders = tuple(list_runs())
        if folders != self._folders:
            before = set(self._folders)
            self._unread += [folder for folder in reversed(folders) if folder not in before]
            self._folders = folders
            self._post(RunsListed(folders))

    def _revive_keeper(self) -> None:
        """Ensure that a keeper runs while runs wait or train; if that is not permitted, only watch."""
        from tuner_tui.keeper.start import revive

        if not self._live or time.monotonic() - self._revived_at < REVIVE_EVERY_SECONDS:
            return
        self._revived_at = time.monotonic()
        with contextlib.suppress(TunerError, OSError):
            revive(self._live)

    def _first(self) -> Iterable[RunFolder]:
        """Visible and live runs; while paused, only runs whose end may have to be announced."""
        if self.is_paused:
            return dict.fromkeys([*self._live, *self._folders[:1]])
        return dict.fromkeys([*self.in_view, *self._live])

    def _some_of_the_rest(self) -> Iterator[RunFolder]:
        while self._unread:
            folder = self._unread.pop()
            if folder.name not in self._summaries:
                yield folder

    def _read(self, reader: SummaryReader, folders: Iterable[RunFolder], seconds: float = 60.0) -> None:
        """Read for a limited time, showing results as they come: one long run must not block the others."""
        from tuner_tui.runs.queue import queued_names

        queued, until = queued_names(), time.monotonic() + seconds
        read: dict[str, RunSummary] = {}
        shown_at = time.monotonic()
        for folder in folders:
            read[folder.name] = summary = reader.read(folder, queued)
            if folder in self._live and not summary.is_live:
                self._post(RunEnded(folder))
            (self._live.add if summary.is_live else self._live.discard)(folder)
            now = time.monotonic()
            if now - shown_at > SHOW_EVERY_SECONDS:
                self._show(read)
                read, shown_at = {}, now
            if now > until or self._has_ended:
                break
        self._show(read)

    def _show(self, read: dict[str, RunSummary]) -> None:
        if any(self._summaries.get(name) != summary for name, summary in read.items()):
            self._summaries = self._summaries | read
            self._post(SummariesRead(self._summaries))

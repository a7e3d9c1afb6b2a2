"""Keeps the list of runs up to date in a thread: those in view and those that live first, the rest when idle."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary, SummaryReader

LOOK_EVERY_SECONDS = 1.0
SHARE_SECONDS = 0.05
"""How long the idle rest is read before what has been read is shown."""


class RunsListed(Message):
    """The runs there are now, the newest first."""

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


class RunsFeed:
    """One thread's work; screens set `in_view` and `is_paused`, and get messages."""

    def __init__(self, post: Callable[[Message], object], folders: tuple[RunFolder, ...]) -> None:
        self.in_view: tuple[RunFolder, ...] = ()
        self.is_paused = False
        self._post = post
        self._folders = folders
        self._summaries: dict[str, RunSummary] = {}
        self._unread: list[RunFolder] = []
        self._has_ended = False
        self._wake = threading.Event()

    def wake(self) -> None:
        """Look at once."""
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
            if not self.is_paused:
                self._list()
                self._read(reader, self._first())
                self._read_some_of_the_rest(reader)
            self._wake.wait(SHARE_SECONDS if self._unread and not self.is_paused else LOOK_EVERY_SECONDS)

    def _list(self) -> None:
        from tuner_tui.runs.folder import list_runs

        folders = tuple(list_runs())
        if folders != self._folders:
            before = set(self._folders)
            self._unread += [folder for folder in reversed(folders) if folder not in before]
            self._folders = folders
            self._post(RunsListed(folders))

    def _first(self) -> Iterable[RunFolder]:
        live = [
            folder
            for folder in self._folders
            if (known := self._summaries.get(folder.name)) and known.is_live
        ]
        return dict.fromkeys([*self.in_view, *live])

    def _read_some_of_the_rest(self, reader: SummaryReader) -> None:
        until = time.monotonic() + SHARE_SECONDS
        some: list[RunFolder] = []
        while self._unread and time.monotonic() < until and not self._has_ended:
            some = [self._unread.pop() for _ in range(min(20, len(self._unread)))]
            self._read(reader, [folder for folder in some if folder.name not in self._summaries])

    def _read(self, reader: SummaryReader, folders: Iterable[RunFolder]) -> None:
        from tuner_tui.runs.queue import queued_names

        queued = queued_names()
        read = {folder.name: reader.read(folder, queued) for folder in folders if not self._has_ended}
        if any(self._summaries.get(name) != summary for name, summary in read.items()):
            self._summaries = self._summaries | read
            self._post(SummariesRead(self._summaries))

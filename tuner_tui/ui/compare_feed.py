"""Reads in a thread what the Runs screen shows of the chosen runs: curves, settings, family, notes, disk."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from textual.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.comparison import ComparedRun, ComparisonReader
    from tuner_tui.runs.disk import CleanUpItem, RunDisk
    from tuner_tui.runs.family import FamilyReader, Relative
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.notes import Note, NotesReader
    from tuner_tui.runs.trash import Deletion

Part = Literal["curves", "settings", "family", "note", "disk"]
PARTS: tuple[Part, ...] = ("curves", "settings", "family", "note", "disk")
LOOK_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Wanted:
    """What is to be read."""

    part: Part = "curves"
    chosen: RunFolder | None = None
    compared: tuple[RunFolder, ...] = ()
    folders: tuple[RunFolder, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What was read for one part; the others keep what they had."""

    wanted: Wanted
    compared: tuple[ComparedRun, ...] = ()
    family: tuple[Relative, ...] = ()
    checkpoints: tuple[Path, ...] = ()
    disk: RunDisk | None = None
    items: tuple[CleanUpItem, ...] = ()
    notes: Mapping[str, Note] = field(default_factory=dict)
    trash: tuple[Deletion, ...] = ()
    """What can be restored, the last deleted first."""


class LookedAt(Message):
    """The chosen runs were read."""

    def __init__(self, looked: Looked) -> None:
        super().__init__()
        self.looked = looked

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, LookedAt)


class CompareFeed:
    """One thread's work; the screen sets what it wants and gets messages when something is new."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self.is_paused = False
        self._post = post
        self._wanted = Wanted()
        self._is_stale = True
        self._has_ended = False
        self._wake = threading.Event()

    def want(self, wanted: Wanted) -> None:
        """Read something else, at once."""
        if wanted != self._wanted:
            self._wanted = wanted
            self.look_again()

    def look_again(self) -> None:
        """Read everything again after a change."""
        self._is_stale = True
        self._wake.set()

    def end(self) -> None:
        self._has_ended = True
        self._wake.set()

    def run(self) -> None:
        """Read until stopped."""
        from tuner_tui.runs.comparison import ComparisonReader
        from tuner_tui.runs.family import FamilyReader
        from tuner_tui.runs.notes import NotesReader
        from tuner_tui.runs.trash import deletions

        readers = (ComparisonReader(), FamilyReader(), NotesReader())
        last_state: object = None
        trash: tuple[Deletion, ...] = ()
        while not self._has_ended:
            self._wake.clear()
            if not self.is_paused:
                wanted, is_stale = self._wanted, self._is_stale
                self._is_stale = False
                # Folders are walked once, growing files are followed.
                if is_stale or wanted.part in ("curves", "settings"):
                    if is_stale:
                        trash = tuple(deletions())
                    looked = replace(_look(wanted, *readers), trash=trash)
                    now = (
                        wanted,
                        [
                            (compared_run.status, compared_run.run.last_event_at)
                            for compared_run in looked.compared
                        ],
                    )
                    if is_stale or now != last_state:
                        last_state = now
                        self._post(LookedAt(looked))
            self._wake.wait(LOOK_EVERY_SECONDS)


def _look(wanted: Wanted, comparison: ComparisonReader, family: FamilyReader, notes: NotesReader) -> Looked:
    from tuner_tui.runs.disk import clean_up_items, complete_checkpoints, run_disk
    from tuner_tui.runs.queue import queued_names

    chosen, all_notes = wanted.chosen, notes.read()
    match wanted.part:
        case "curves" | "settings":
            return Looked(wanted, compared=comparison.read(wanted.compared), notes=all_notes)
        case "family" if chosen is not None:
            tree = tuple(family.tree(chosen, wanted.folders))
            return Looked(
                wanted, family=tree, checkpoints=tuple(complete_checkpoints(chosen)), notes=all_notes
            )
        case "disk":
            taken = run_disk(chosen) if chosen is not None else None
            return Looked(wanted, disk=taken, items=tuple(clean_up_items(queued_names())), notes=all_notes)
    return Looked(wanted, notes=all_notes)

"""One annotator working on one collection: the next item, the order of its answers, and saving annotations."""

from __future__ import annotations

import random
import secrets
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.feedback.collections import needed_answers
from tuner_tui.feedback.index import CollectionIndex
from tuner_tui.feedback.records import (
    Annotation,
    Answer,
    Entry,
    Item,
    Maker,
    NewAnswer,
    Proposal,
    Strength,
    Verdict,
)
from tuner_tui.feedback.store_errors import UnreadableItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tuner_tui.feedback.records import CollectionSettings
    from tuner_tui.feedback.store import Store

MOST_ANSWERS = 4
FIRST_REPEAT = 50
"""Annotations before the first repeated item: until then all time goes into new items."""
REPEAT_EVERY = 5
REPEAT_DISTANCE = 20
"""Annotations between an item and its repetition, so that the choice is not remembered."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An item as shown on the screen: blind, with its answers in random order."""

    item: Item
    answers: tuple[Answer, ...]
    is_repeat: bool = False
    proposal: Entry | None = None
    """A judge model's proposal for these answers."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a collection."""

    saved: int
    ready: int
    """Units ready to be annotated."""
    waiting: int
    """Prompts that still need answers."""


class Session:
    """Picks units (an item, or with thumbs and scores one of its answers) and saves annotations.

    New rows are read from the store each time, so that two apps on one collection see each other's work. Thread-safe.
    """

    def __init__(
        self, store: Store, annotator: str, *, seed: int | None = None, is_uncertain_first: bool = False
    ) -> None:
        self.store = store
        self.annotator = annotator
        self.is_uncertain_first = is_uncertain_first
        self._seed = secrets.randbits(32) if seed is None else seed
        self._index = CollectionIndex(store, annotator)
        self._turn = threading.RLock()
        self._unreadable: set[int] = set()
        """Items that cannot be read; they are skipped."""

    def progress(self) -> Progress:
        """Current counts, from disk. Raises MovedStore when the collection was moved or deleted."""
        with self._turn:
            self._refresh()
            settings, index = self.store.settings(), self._index
            needed = needed_answers(settings)
            pending = {item: count for item, count in index.left.items() if item not in self._unreadable}
            if settings.mode in ("thumbs", "scores"):
                ready = sum(
                    max(0, count - len(index.scored.get(item, ()))) for item, count in pending.items()
                )
            else:
                ready = sum(count >= needed for count in pending.values())
            return Progress(
                saved=index.annotation_count,
                ready=ready,
                waiting=sum(count < needed for count in pending.values()),
            )

    def next(self, passing: Sequence[int] = ()) -> Shown | None:
        """The next unit to annotate, without the items in `passing`; None when nothing is ready."""
        with self._turn:
            self._refresh()
            settings, index = self.store.settings(), self._index
            if settings.repeats and settings.mode == "pairs":
                returning = self._returning()
                if returning is not None:
                    return returning
            for number in self._ready(needed_answers(settings), passing):
                try:
                    item = self.store.item(number)
                except UnreadableItem:
                    self._unreadable.add(number)
                    continue
                shown = self._shown(item, settings, index.scored.get(number, set()))
                if shown is not None:
                    proposal = _fitting(index.proposals.get(number), shown)
                    return msgspec.structs.replace(shown, proposal=proposal)
            return None

    def look(self) -> tuple[Shown | None, Progress]:
        """The next unit to annotate, and the current counts."""
        return self.next(), self.progress()

    def _refresh(self) -> None:
        self.store.require_in_place()
        self._index.refresh()

    def _ready(self, needed: int, passing: Sequence[int]) -> Iterable[int]:
        index = self._index
        ready = (
            item
            for item, count in index.left.items()
            if count >= needed and item not in passing and item not in self._unreadable
        )
        if not self.is_uncertain_first:
            return ready
        return sorted(ready, key=lambda item: _certainty(index.proposals.get(item)))

    def keep(
        self,
        shown: Shown,
        verdict: Verdict,
        *,
        ranks: Sequence[int] = (),
        scores: Sequence[int] = (),
        strength: Strength = "clear",
        written: str | None = None,
        edited_from: int | None = None,
        note: str | None = None,
        seconds: float = 0.0,
    ) -> int:
        """Save an annotation; it is on disk when this returns. Returns the entry's id."""
        annotation = Annotation(
            verdict=verdict,
            shown=tuple(answer.id for answer in shown.answers),
            ranks=tuple(ranks),
            scores=tuple(scores),
            strength=strength,
            seconds=round(seconds, 3),
            is_repeat=shown.is_repeat,
            proposal=shown.proposal.id if shown.proposal is not None else None,
        )
        answer = None
        if written is not None:
            maker = Maker(kind="person", model=self.annotator, edited_from=edited_from)
            answer = NewAnswer(text=written, maker=maker, is_finished=True)
        return self.store.annotate(shown.item.id, annotation, self.annotator, note=note, written=answer)

    def choose(
        self,
        shown: Shown,
        place: int,
        *,
        strength: Strength = "clear",
        seconds: float = 0.0,
        note: str | None = None,
    ) -> int:
        """Prefer the answer at a position (from 0) to all others. Raises IndexError for any other position."""
        if not 0 <= place < len(shown.answers):
            raise IndexError(place)
        ranks = [1 if index == place else 2 for index in range(len(shown.answers))]
        return self.keep(shown, "choice", ranks=ranks, strength=strength, seconds=seconds, note=note)

    def undo(self) -> tuple[Entry, Shown | None] | None:
        """Undo the last active entry, and show its item as before; None when there is nothing to undo."""
        entry = self.store.undo(self.annotator)
        if entry is None:
            return None
        if entry.annotation is None:
            return entry, None
        try:
            item = self.store.item(entry.item)
        except UnreadableItem:
            return entry, None
        by_id = {answer.id: answer for answer in item.answers}
        shown = [
            by_id[number]
            for number in entry.annotation.shown
            if number != entry.annotation.written and number in by_id
        ]
        with self._turn:
            self._refresh()
            proposal = self._index.proposal(entry.annotation.proposal)
        return entry, Shown(
            item=item, answers=tuple(shown), is_repeat=entry.annotation.is_repeat, proposal=proposal
        )

    def missing_answers(self) -> dict[int, int]:
        """How many answers each prompt still needs from models, by its item, in order."""
        wanted = wanted_answers(self.store.settings())
        with self._turn:
            self._refresh()
            return {
                item: wanted - count
                for item, count in self._index.left.items()
                if count < wanted and item not in self._unreadable
            }

    def unanswered(self, most: int) -> list[Item]:
        """The next prompts that need answers from models, in order."""
        wanted = wanted_answers(self.store.settings())
        items: list[Item] = []
        with self._turn:
            self._refresh()
            for number, count in self._index.left.items():
                if len(items) >= most:
                    break
                if count >= wanted or number in self._unreadable:
                    continue
                try:
                    items.append(self.store.item(number))
                except UnreadableItem:
                    self._unreadable.add(number)
        return items

    def _shown(self, item: Item, settings: CollectionSettings, scored: set[int]) -> Shown | None:
        answers = list(item.model_answers)
        if settings.mode == "demonstrations":
            return Shown(item=item, answers=tuple(answers[:1]))
        if settings.mode in ("thumbs", "scores"):
            unscored = [answer for answer in answers if answer.id not in scored]
            return Shown(item=item, answers=(unscored[0],)) if unscored else None
        answers = answers[:MOST_ANSWERS]
        random.Random(f"{self._seed}-{item.id}").shuffle(answers)
        return Shown(item=item, answers=tuple(answers))

    def _returning(self) -> Shown | None:
        """An item to repeat with its answers swapped, when one is due."""
        index = self._index
        if index.own_count < FIRST_REPEAT:
            return None
        if index.repeat_count > (index.own_count - FIRST_REPEAT) // REPEAT_EVERY:
            return None
        for entry in index.may_return(REPEAT_DISTANCE):
            annotation = entry.annotation
            if (
                annotation is not None
                and annotation.verdict in ("choice", "tie")
                and annotation.written is None
                and len(annotation.shown) == 2
                and entry.item not in self._unreadable
            ):
                try:
                    item = self.store.item(entry.item)
                except UnreadableItem:
                    self._unreadable.add(entry.item)
                    continue
                by_id = {answer.id: answer for answer in item.answers}
                answers = tuple(by_id[number] for number in reversed(annotation.shown))
                return Shown(item=item, answers=answers, is_repeat=True)
        return None


def wanted_answers(settings: CollectionSettings) -> int:
    """Answers to generate per item; 0 when no model is set."""
    if not settings.candidates or settings.mode == "demonstrations":
        return 0
    least = 1 if settings.mode in ("thumbs", "scores") else max(2, len(settings.candidates))
    return min(MOST_ANSWERS, max(least, settings.answers_per_item))


class Stopwatch:
    """Seconds since something was shown."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since


def _certainty(entry: Entry | None) -> float:
    """The sort key for uncertain-first order; items without a proposal count as 0.5."""
    if entry is None or entry.proposal is None:
        return 0.5
    return entry.proposal.certainty


def _fitting(entry: Entry | None, shown: Shown) -> Entry | None:
    proposal: Proposal | None = entry.proposal if entry is not None else None
    ids = {answer.id for answer in shown.answers}
    return entry if proposal is not None and set(proposal.answers) <= ids else None


def shown_by_item(entries: Sequence[Entry]) -> Iterator[tuple[int, Annotation]]:
    """Item and annotation of each entry that has one."""
    for entry in entries:
        if entry.annotation is not None and not entry.annotation.is_set_aside:
            yield entry.item, entry.annotation

"""One rater at one collection: what comes next, in which order answers stand, and keeping what is said."""

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
    Answer,
    Entry,
    Item,
    Judgement,
    Maker,
    NewAnswer,
    Proposal,
    Strength,
    Verdict,
)
from tuner_tui.feedback.store import UnreadableItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tuner_tui.feedback.records import CollectionSettings
    from tuner_tui.feedback.store import Store

MOST_ANSWERS = 4
FIRST_REPEAT = 50
"""Judgements before the first item comes back: earlier, every minute goes into new ones."""
REPEAT_EVERY = 5
REPEAT_DISTANCE = 20
"""Judgements between an item and its return, so that it is judged and not remembered."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it stands on the screen: blind, its answers in a random order."""

    item: Item
    answers: tuple[Answer, ...]
    is_repeat: bool = False
    proposal: Entry | None = None
    """What a judge model proposed for these answers."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a collection is."""

    kept: int
    ready: int
    """Units that could be judged at once."""
    waiting: int
    """Prompts that still need answers."""


class Session:
    """Picks units (an item, or with thumbs and scores one of its answers) and keeps judgements.

    What was added is asked of the store each time, so that two apps on one collection see each other's work. May be
    used from several threads.
    """

    def __init__(
        self, store: Store, rater: str, *, seed: int | None = None, is_uncertain_first: bool = False
    ) -> None:
        self.store = store
        self.rater = rater
        self.is_uncertain_first = is_uncertain_first
        self._seed = secrets.randbits(32) if seed is None else seed
        self._index = CollectionIndex(store, rater)
        self._turn = threading.RLock()
        self._unreadable: set[int] = set()
        """Items that were found not to be readable; they are passed over."""

    def standing(self) -> Standing:
        """Counts of now, from disk. Raises MovedStore when the collection is not in its place any more."""
        with self._turn:
            self._refresh()
            settings, index = self.store.settings(), self._index
            needed = needed_answers(settings)
            left = {item: count for item, count in index.left.items() if item not in self._unreadable}
            if settings.mode in ("thumbs", "scores"):
                ready = sum(max(0, count - len(index.scored.get(item, ()))) for item, count in left.items())
            else:
                ready = sum(count >= needed for count in left.values())
            return Standing(
                kept=index.kept, ready=ready, waiting=sum(count < needed for count in left.values())
            )

    def next(self, passing: Sequence[int] = ()) -> Shown | None:
        """What to judge next, leaving out the items in `passing`; None when nothing is ready."""
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

    def look(self) -> tuple[Shown | None, Standing]:
        """What to judge next, and the counts of now."""
        return self.next(), self.standing()

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
        """Keep a judgement; when this returns it is on disk. Gives the entry's id."""
        judgement = Judgement(
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
            maker = Maker(kind="person", model=self.rater, edited_from=edited_from)
            answer = NewAnswer(text=written, maker=maker, is_finished=True)
        return self.store.judge(shown.item.id, judgement, self.rater, note=note, written=answer)

    def choose(
        self,
        shown: Shown,
        place: int,
        *,
        strength: Strength = "clear",
        seconds: float = 0.0,
        note: str | None = None,
    ) -> int:
        """Prefer the answer in a place (from 0) to all others. Raises IndexError when no answer stands there."""
        if not 0 <= place < len(shown.answers):
            raise IndexError(place)
        ranks = [1 if each == place else 2 for each in range(len(shown.answers))]
        return self.keep(shown, "choice", ranks=ranks, strength=strength, seconds=seconds, note=note)

    def undo(self) -> tuple[Entry, Shown | None] | None:
        """Take back the last entry that stands, and show its item as it stood; None when there is nothing to undo."""
        entry = self.store.undo(self.rater)
        if entry is None:
            return None
        if entry.judgement is None:
            return entry, None
        try:
            item = self.store.item(entry.item)
        except UnreadableItem:
            return entry, None
        by_id = {answer.id: answer for answer in item.answers}
        shown = [
            by_id[number]
            for number in entry.judgement.shown
            if number != entry.judgement.written and number in by_id
        ]
        with self._turn:
            self._refresh()
            proposal = self._index.proposal(entry.judgement.proposal)
        return entry, Shown(
            item=item, answers=tuple(shown), is_repeat=entry.judgement.is_repeat, proposal=proposal
        )

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
            left = [answer for answer in answers if answer.id not in scored]
            return Shown(item=item, answers=(left[0],)) if left else None
        answers = answers[:MOST_ANSWERS]
        random.Random(f"{self._seed}-{item.id}").shuffle(answers)
        return Shown(item=item, answers=tuple(answers))

    def _returning(self) -> Shown | None:
        """An item that comes back, swapped, when it is time for one."""
        index = self._index
        if index.own_count < FIRST_REPEAT:
            return None
        if index.repeat_count > (index.own_count - FIRST_REPEAT) // REPEAT_EVERY:
            return None
        for entry in index.may_return(REPEAT_DISTANCE):
            judgement = entry.judgement
            if (
                judgement is not None
                and judgement.verdict in ("choice", "tie")
                and judgement.written is None
                and len(judgement.shown) == 2
                and entry.item not in self._unreadable
            ):
                try:
                    item = self.store.item(entry.item)
                except UnreadableItem:
                    self._unreadable.add(entry.item)
                    continue
                by_id = {answer.id: answer for answer in item.answers}
                answers = tuple(by_id[number] for number in reversed(judgement.shown))
                return Shown(item=item, answers=answers, is_repeat=True)
        return None


def wanted_answers(settings: CollectionSettings) -> int:
    """Answers that models are asked for per item; none when nobody was named who answers."""
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
    """Items without a proposal come before sure ones and after unsure ones."""
    if entry is None or entry.proposal is None:
        return 0.5
    return entry.proposal.certainty


def _fitting(entry: Entry | None, shown: Shown) -> Entry | None:
    proposal: Proposal | None = entry.proposal if entry is not None else None
    ids = {answer.id for answer in shown.answers}
    return entry if proposal is not None and set(proposal.answers) <= ids else None


def shown_by_item(entries: Sequence[Entry]) -> Iterator[tuple[int, Judgement]]:
    """Item and judgement of all entries that judge."""
    for entry in entries:
        if entry.judgement is not None and not entry.judgement.is_set_aside:
            yield entry.item, entry.judgement

"""One rater at one collection: what comes next, in which order answers stand, and keeping what is said."""

from __future__ import annotations

import random
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.feedback.collections import needed_answers
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    Everything is asked of the store each time, so that two apps on one collection see each other's work.
    """

    def __init__(
        self, store: Store, rater: str, *, seed: int | None = None, is_uncertain_first: bool = False
    ) -> None:
        self.store = store
        self.rater = rater
        self.is_uncertain_first = is_uncertain_first
        self._seed = secrets.randbits(32) if seed is None else seed

    def standing(self) -> Standing:
        """Counts of now, from disk."""
        counts, settings = self.store.answer_counts(), self.store.settings()
        done, scored = self._done()
        needed = needed_answers(settings)
        left = {item: count for item, count in counts.items() if item not in done}
        if settings.mode in ("thumbs", "scores"):
            ready = sum(max(0, count - len(scored.get(item, ()))) for item, count in left.items())
        else:
            ready = sum(count >= needed for count in left.values())
        return Standing(
            kept=self.store.kept(), ready=ready, waiting=sum(count < needed for count in left.values())
        )

    def next(self, passing: Sequence[int] = ()) -> Shown | None:
        """What to judge next, leaving out the items in `passing`; None when nothing is ready."""
        settings = self.store.settings()
        standing = self.store.standing()
        if settings.repeats and settings.mode == "pairs":
            returning = self._returning(standing)
            if returning is not None:
                return returning
        counts = self.store.answer_counts()
        done, scored = self._done(standing)
        ready = [
            item
            for item, count in counts.items()
            if count >= needed_answers(settings) and item not in done and item not in passing
        ]
        proposals = _proposals(standing)
        if self.is_uncertain_first:
            ready.sort(key=lambda item: _certainty(proposals.get(item)))
        for number in ready:
            shown = self._shown(self.store.item(number), settings, scored.get(number, set()))
            if shown is not None:
                return msgspec.structs.replace(shown, proposal=_fitting(proposals.get(number), shown))
        return None

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
        item = self.store.item(entry.item)
        by_id = {answer.id: answer for answer in item.answers}
        shown = [by_id[number] for number in entry.judgement.shown if number != entry.judgement.written]
        proposal = next((e for e in self.store.standing() if e.id == entry.judgement.proposal), None)
        return entry, Shown(
            item=item, answers=tuple(shown), is_repeat=entry.judgement.is_repeat, proposal=proposal
        )

    def unanswered(self, most: int) -> list[Item]:
        """The next prompts that need answers from models, in order."""
        settings = self.store.settings()
        done, _ = self._done()
        wanted = wanted_answers(settings)
        numbers = [
            item for item, count in self.store.answer_counts().items() if count < wanted and item not in done
        ]
        return [self.store.item(number) for number in numbers[:most]]

    def _shown(self, item: Item, settings: CollectionSettings, scored: set[int]) -> Shown | None:
        answers = [answer for answer in item.answers if answer.maker.kind != "person"]
        if settings.mode == "demonstrations":
            return Shown(item=item, answers=tuple(answers[:1]))
        if settings.mode in ("thumbs", "scores"):
            left = [answer for answer in answers if answer.id not in scored]
            return Shown(item=item, answers=(left[0],)) if left else None
        answers = answers[:MOST_ANSWERS]
        random.Random(f"{self._seed}-{item.id}").shuffle(answers)
        return Shown(item=item, answers=tuple(answers))

    def _done(self, standing: list[Entry] | None = None) -> tuple[set[int], dict[int, set[int]]]:
        """Items that need nobody any more, and of the others which answers have thumbs or scores."""
        done: set[int] = set()
        scored: dict[int, set[int]] = {}
        for entry in self.store.standing() if standing is None else standing:
            if entry.judgement is None or entry.rater_kind == "ai":
                continue
            if entry.judgement.verdict in ("thumbs", "scores", "skip") and len(entry.judgement.shown) == 1:
                scored.setdefault(entry.item, set()).update(entry.judgement.shown)
            else:
                done.add(entry.item)
        counts = self.store.answer_counts()
        for item, answers in list(scored.items()):
            if len(answers) >= counts.get(item, 0):
                done.add(item)
        return done, scored

    def _returning(self, standing: list[Entry]) -> Shown | None:
        """An item that comes back, swapped, when it is time for one."""
        own = [
            entry
            for entry in standing
            if entry.judgement is not None and entry.rater == self.rater and not entry.judgement.is_set_aside
        ]
        if len(own) < FIRST_REPEAT:
            return None
        repeated = [entry for entry in own if entry.judgement is not None and entry.judgement.is_repeat]
        if len(repeated) > (len(own) - FIRST_REPEAT) // REPEAT_EVERY:
            return None
        seen = {entry.item for entry in repeated}
        for entry in own[:-REPEAT_DISTANCE]:
            judgement = entry.judgement
            if judgement is None or entry.item in seen or judgement.is_repeat:
                continue
            if (
                judgement.verdict in ("choice", "tie")
                and judgement.written is None
                and len(judgement.shown) == 2
            ):
                item = self.store.item(entry.item)
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


def _proposals(standing: list[Entry]) -> dict[int, Entry]:
    return {entry.item: entry for entry in standing if entry.proposal is not None}


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

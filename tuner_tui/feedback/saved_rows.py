"""Saves imported rows: an item for each prompt with its answers, and whatever annotators said of them, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.feedback.import_rows import ImportedRow, Suggested, Verdicts
from tuner_tui.feedback.records import Annotation, Contents, Item, NewAnswer, Proposal
from tuner_tui.feedback.store_rows import NewEntry, NewItem
from tuner_tui.text import counted, listed

if TYPE_CHECKING:
    from tuner_tui.feedback.store import Store
    from tuner_tui.generation.messages import Turn

Key = tuple[tuple["Turn", ...], tuple[str, ...]]
"""What makes two rows one item: the prompt and the texts of the answers, in any order."""
Statement = tuple[object, ...]
"""What an entry says of an item's answers, whatever their order."""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of an import."""

    items: int
    judged: int
    unjudged: int
    """Items with answers to annotate."""
    prompts: int
    """Items without answers."""
    already_there: int
    ties: int = 0
    """Annotations that no answer is better, of which both may be good."""
    both_bad: int = 0
    more: int = 0
    """Annotations added to items that existed already."""
    annotators: int = 0
    """Annotators whom the file names."""
    proposals: int = 0
    """A model's suggestions, which count once somebody accepts them."""

    def lines(self) -> list[str]:
        """The counts in words."""
        lines = [
            f"{counted(self.items, 'item')}: {self.judged} annotated, {self.unjudged} to annotate, "
            f"{counted(self.prompts, 'prompt')} without "
            f"answers; {self.already_there} existed already"
        ]
        without_winner = [
            f"{count} {name if count > 1 else one}"
            for count, one, name in ((self.ties, "tie", "ties"), (self.both_bad, "both bad", "both bad"))
            if count
        ]
        if without_winner:
            lines.append(f"Saved as what they are, without a winner: {listed(without_winner, 'and')}.")
        if self.annotators > 1 and (self.judged or self.more):
            lines.append(f"Annotations are by {self.annotators} annotators, each counted.")
        if self.more:
            lines.append(f"{self.more} more annotations of items that existed already.")
        if self.proposals:
            lines.append(
                f"{self.proposals} suggestions of models are saved as proposals; accept them with y."
            )
        return lines


def keep_rows(store: Store, rows: Sequence[ImportedRow], annotator: str) -> ImportReport:
    """Import rows in one transaction. An item that exists gets the annotations that it lacks.

    Annotators whom the file names are `annotator` with that name; of those whom it does not, the second one who says
    something else of the same item is `annotator (2)`, and so on.
    """
    existing = _Existing(store.contents())
    items: dict[Key, _Item] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        key = _key(row.prompt, row.answers)
        item = items.get(key)
        is_new = item is None and key not in existing.items
        if item is None:
            item = items[key] = _Item(row, existing.items.get(key))
        added = item.take(row, annotator, existing)
        counts.update(added)
        counts["more"] += sum(verdict != "proposal" for verdict in added) if not item.is_new else 0
        counts["already there"] += not is_new and not added
    store.add_imported([item.as_new() for item in items.values()])
    created = [item for item in items.values() if item.is_new]
    judged = sum(item.is_judged for item in created)
    prompts = sum(not item.answers for item in created)
    return ImportReport(
        items=len(created),
        judged=judged,
        unjudged=len(created) - judged - prompts,
        prompts=prompts,
        already_there=counts["already there"],
        ties=counts["tie"],
        both_bad=counts["both_bad"],
        more=counts["more"],
        annotators=len({each.annotator for row in rows for each in row.verdicts if each.annotator}),
        proposals=counts["proposal"],
    )


class _Existing:
    """What a collection holds already."""

    def __init__(self, contents: Contents) -> None:
        self.items: dict[Key, Item] = {}
        texts: dict[int, dict[int, str]] = {}
        for item in contents.items:
            self.items.setdefault(_key(item.prompt, item.model_answers), item)
            texts[item.id] = {answer.id: answer.text for answer in item.answers}
        self.last: dict[tuple[int, str], Statement] = {}
        """By item and annotator: the last annotation, or a model's proposal."""
        for entry in contents.active_entries:
            statement = _statement(entry.annotation or entry.proposal, texts.get(entry.item, {}))
            if statement:
                self.last[entry.item, entry.annotator] = statement


@dataclass
class _Item:
    """One item, new or existing, with what is to be added to it."""

    first: ImportedRow
    existing: Item | None
    entries: list[NewEntry] = field(default_factory=list)
    statements: dict[str, Statement] = field(default_factory=dict)
    """By annotator: what this import says."""

    @property
    def is_new(self) -> bool:
        return self.existing is None

    @property
    def answers(self) -> Sequence[NewAnswer]:
        return self.first.answers if self.existing is None else self.existing.model_answers

    @property
    def is_judged(self) -> bool:
        return any(not entry.is_proposal for entry in self.entries)

    def take(self, row: ImportedRow, annotator: str, existing: _Existing) -> list[str]:
        """Add what a row says that is not there yet; returns the kinds of what was added."""
        places = _places(row.answers, self.answers)
        added: list[str] = []
        for verdict in row.verdicts:
            statement = _statement(verdict.annotation(range(len(row.answers))), _texts(row.answers))
            name = (
                f"{annotator}:{verdict.annotator}"
                if verdict.annotator
                else self._unnamed(annotator, statement)
            )
            if name and self._is_news(name, statement, existing):
                self.entries.append(NewEntry(name, "import", _Maker(verdict, tuple(places))))
                added.append(verdict.verdict)
        for suggestion in row.suggested:
            statement = _statement(suggestion.proposal(range(len(row.answers))), _texts(row.answers))
            if self._is_news(suggestion.model, statement, existing):
                self.entries.append(
                    NewEntry(suggestion.model, "ai", _Maker(suggestion, tuple(places)), is_proposal=True)
                )
                added.append("proposal")
        return added

    def _unnamed(self, annotator: str, statement: Statement) -> str:
        """The name for a verdict of which nobody is named; empty where the same stands in the file already."""
        number = 1
        while True:
            name = annotator if number == 1 else f"{annotator} ({number})"
            if name not in self.statements:
                return name
            if self.statements[name] == statement:
                return ""
            number += 1

    def _is_news(self, name: str, statement: Statement, existing: _Existing) -> bool:
        before = self.statements.get(name)
        if before is None and self.existing is not None:
            before = existing.last.get((self.existing.id, name))
        self.statements[name] = statement
        return before != statement

    def as_new(self) -> NewItem:
        """As the store takes it."""
        if self.existing is None:
            return NewItem(self.first.prompt, self.first.origin, self.first.answers, self.entries)
        ids = tuple(answer.id for answer in self.existing.model_answers)
        return NewItem((), "", (), self.entries, self.existing.id, ids)


@dataclass(frozen=True)
class _Maker:
    """An entry once the ids of an item's answers are known."""

    statement: Verdicts | Suggested
    places: tuple[int, ...]
    """Of the row's answers among the item's."""

    def __call__(self, ids: Sequence[int]) -> Annotation | Proposal:
        own = [ids[place] for place in self.places]
        verdict = self.statement
        return verdict.annotation(own) if isinstance(verdict, Verdicts) else verdict.proposal(own)


def _key(prompt: Sequence[Turn], answers: Sequence[NewAnswer]) -> Key:
    return tuple(prompt), tuple(sorted(answer.text for answer in answers))


def _places(own: Sequence[NewAnswer], of_item: Sequence[NewAnswer]) -> list[int]:
    """Where each of a row's answers is among the item's, which have the same texts."""
    left = list(range(len(of_item)))
    places = []
    for answer in own:
        place = next(place for place in left if of_item[place].text == answer.text)
        left.remove(place)
        places.append(place)
    return places


def _texts(answers: Sequence[NewAnswer]) -> dict[int, str]:
    return {place: answer.text for place, answer in enumerate(answers)}


def _statement(what: Annotation | Proposal | None, texts: dict[int, str]) -> Statement:
    if what is None:
        return ()
    if isinstance(what, Proposal):
        return ("proposal", *(texts.get(answer, "") for answer in what.preferred if answer is not None))
    blank = (0,) * len(what.shown)
    lines = zip(
        (texts.get(answer, "") for answer in what.shown),
        what.ranks or blank,
        what.scores or blank,
        strict=True,
    )
    return (what.verdict, what.strength, *sorted(lines))

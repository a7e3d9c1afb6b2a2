"""Which items are annotated and which are pending, kept current by reading only the rows that were added.

Rows are never changed or deleted and their ids only grow, so what other apps add is seen as well.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from tuner_tui.feedback.store_rows import checked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.feedback.records import Entry
    from tuner_tui.feedback.store import Store


class CollectionIndex:
    """The active entries of a collection by item, with running counts."""

    def __init__(self, store: Store, annotator: str) -> None:
        self._store = store
        self._annotator = annotator
        self._last: tuple[int, ...] = (0, 0, 0)
        """The greatest ids of items, answers and entries read so far."""
        self._answers: dict[int, dict[int, bool]] = {}
        """By item: the answers' ids, and whether they are from a model or a file."""
        self._entries: dict[int, list[Entry]] = {}
        self._item_of: dict[int, int] = {}
        self._is_sorted = True
        self.unreadable_entries = 0
        self.annotation_count = 0
        self.left: dict[int, int] = {}
        """Items that are not annotated yet, in order, with the number of their answers."""
        self.scored: dict[int, set[int]] = {}
        """By item: the answers that have thumbs or scores."""
        self.proposals: dict[int, Entry] = {}
        self._own: dict[int, Entry] = {}
        """This annotator's annotations, in order."""
        self._repeats: dict[int, int] = {}
        """By item: how often it was repeated."""

    def refresh(self) -> None:
        """Read the rows added since the last call."""
        added = self._store.added_since(*self._last)
        self._last = added.last
        changed: dict[int, None] = dict.fromkeys(added.items)
        for number in added.items:
            self._answers[number] = {}
        for number, item, kind in added.answers:
            if item in self._answers:
                self._answers[item][number] = kind != "person"
                changed[item] = None
        for entry in added.entries:
            changed[self._take(checked(entry, self._answers.get(entry.item)))] = None
        for item in changed:
            self._judge_item(item)
        if not self._is_sorted:
            self.left = dict(sorted(self.left.items()))
            self._is_sorted = True

    def count(self, item: int) -> int:
        """Answers of an item from models or files."""
        return sum(self._answers[item].values())

    def proposal(self, number: int | None) -> Entry | None:
        """A judge model's proposal by its entry's id, unless it was undone."""
        entries = self._entries.get(self._item_of.get(number or 0, 0), ())
        return next((entry for entry in entries if entry.id == number), None)

    @property
    def own_count(self) -> int:
        """The number of this annotator's annotations."""
        return len(self._own)

    @property
    def repeat_count(self) -> int:
        """How many of them are of repeated items."""
        return sum(self._repeats.values())

    def may_return(self, distance: int) -> Iterator[Entry]:
        """The annotations of items that were never repeated, oldest first, without the last `distance`."""
        for entry in islice(self._own.values(), max(0, len(self._own) - distance)):
            if entry.item not in self._repeats:
                yield entry

    def _take(self, entry: Entry) -> int:
        """Count an entry, or uncount the one that it undoes; returns the item concerned."""
        if entry.undoes is None:
            self._entries.setdefault(entry.item, []).append(entry)
            self._item_of[entry.id] = entry.item
            self._count(entry, 1)
            return entry.item
        item = self._item_of.pop(entry.undoes, entry.item)
        entries = self._entries.get(item, [])
        self._entries[item] = [other for other in entries if other.id != entry.undoes]
        for undone in entries:
            if undone.id == entry.undoes:
                self._count(undone, -1)
        return item

    def _count(self, entry: Entry, by: int) -> None:
        self.unreadable_entries += by * bool(entry.problem)
        annotation = entry.annotation
        if annotation is None or annotation.is_set_aside:
            return
        self.annotation_count += by
        if entry.annotator != self._annotator:
            return
        if by > 0:
            self._own[entry.id] = entry
        else:
            self._own.pop(entry.id, None)
        if annotation.is_repeat:
            count = self._repeats.get(entry.item, 0) + by
            if count:
                self._repeats[entry.item] = count
            else:
                self._repeats.pop(entry.item, None)

    def _judge_item(self, item: int) -> None:
        """Recompute whether an item is pending."""
        if item not in self._answers:
            return
        is_done = False
        scored: set[int] = set()
        self.proposals.pop(item, None)
        for entry in self._entries.get(item, ()):
            if entry.proposal is not None:
                self.proposals[item] = entry
            if entry.is_unreadable_annotation:
                is_done = True
            if entry.annotation is None or entry.annotator_kind == "ai":
                continue
            if entry.annotation.verdict in ("thumbs", "scores", "skip") and len(entry.annotation.shown) == 1:
                scored.update(entry.annotation.shown)
            else:
                is_done = True
        count = self.count(item)
        if scored:
            self.scored[item] = scored
            is_done = is_done or len(scored) >= count
        else:
            self.scored.pop(item, None)
        if is_done:
            self.left.pop(item, None)
        else:
            if item not in self.left and self.left and item < next(reversed(self.left)):
                self._is_sorted = False
            self.left[item] = count

"""The items, answers and entries of one collection; entries are append-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from tuner_tui.feedback.collection_file import CollectionFile
from tuner_tui.feedback.integrity import (
    ANNOTATION_COUNT,
)
from tuner_tui.feedback.records import (
    Annotation,
    AnnotatorKind,
    Answer,
    Contents,
    Entry,
    Item,
    NewAnswer,
    Proposal,
    RowProblem,
)
from tuner_tui.feedback.store_errors import UnreadableItem
from tuner_tui.feedback.store_rows import (
    ANSWERS,
    ENTRIES,
    NewItem,
    UnreadableRow,
    answer_of,
    checked,
    entry_of,
    insert_answers,
    insert_entry,
    insert_imported,
    insert_item,
    item_of,
    with_written,
)
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tuner_tui.generation.messages import Turn

T = TypeVar("T")


class Added(NamedTuple):
    """Rows added to a collection since the last read."""

    items: list[int]
    answers: list[tuple[int, int, str]]
    """Id, item and kind of maker."""
    entries: list[Entry]
    last: tuple[int, ...]
    """The greatest ids of items, answers and entries."""


class Store(CollectionFile):
    """An open collection. Thread-safe; each call is one transaction."""

    # -- items and answers ----------------------------------------------------------------------------------------

    def add_item(self, prompt: Sequence[Turn], origin: str, answers: Iterable[NewAnswer] = ()) -> int:
        """Add a prompt, with answers if there are any; returns the item's id."""
        (item,) = self.add_items([(prompt, origin, tuple(answers))])
        return item

    def add_items(self, rows: Iterable[tuple[Sequence[Turn], str, Sequence[NewAnswer]]]) -> list[int]:
        """Add several in one transaction: all or none."""
        ids = []
        with self.writing() as connection:
            for prompt, origin, answers in rows:
                ids.append(insert_item(connection, prompt, origin))
                insert_answers(connection, ids[-1], answers)
        return ids

    def add_imported(self, items: Iterable[NewItem]) -> list[int]:
        """Add items with what was said of them, and more about items that exist: all or none; gives the items' ids."""
        with self.writing() as connection:
            return [insert_imported(connection, item) for item in items]

    def add_answers(
        self, item: int, answers: Sequence[NewAnswer], only_if_fewer_than: int | None = None
    ) -> list[int]:
        """Add answers to an item; with a bound, only while it has fewer (another app may have been quicker)."""
        with self.writing() as connection:
            if only_if_fewer_than is not None:
                (has,) = connection.execute("SELECT count(*) FROM answer WHERE item = ?", (item,)).fetchone()
                if has >= only_if_fewer_than:
                    return []
            return insert_answers(connection, item, answers)

    def contents(self) -> Contents:
        """A consistent snapshot, with the rows that cannot be read."""
        with self.reading():
            items = self.rows("SELECT id, prompt, origin FROM item ORDER BY id")
            answers = self.rows(ANSWERS + " ORDER BY id")
            entries = self.rows(ENTRIES + " ORDER BY id")
        return contents_of(items, answers, entries)

    def items(self) -> list[Item]:
        """All readable items, in the order in which they were added."""
        return list(self.contents().items)

    def item(self, number: int) -> Item:
        """One item with its answers. Raises UnreadableItem."""
        with self.reading():
            items = self.rows("SELECT id, prompt, origin FROM item WHERE id = ?", (number,))
            answers = self.rows(ANSWERS + " WHERE item = ? ORDER BY id", (number,))
        contents = contents_of(items, answers, [])
        if not contents.items:
            reason = "; ".join(map(str, contents.problems)) or f"item {number} is missing"
            raise UnreadableItem(
                "An item cannot be read",
                f"{self.path}: {reason}.",
                f"See: {shell_command('feedback check', self.path.stem)}",
            )
        return contents.items[0]

    def answer_counts(self) -> dict[int, int]:
        """How many readable answers from models or files each item has, in the items' order."""
        contents = self.contents()
        return {item.id: len(item.model_answers) for item in contents.items}

    def added_since(self, item: int, answer: int, entry: int) -> Added:
        """The readable rows with greater ids, as one snapshot."""
        with self.reading():
            items = self.rows("SELECT id, prompt, origin FROM item WHERE id > ? ORDER BY id", (item,))
            answers = self.rows(ANSWERS + " WHERE id > ? ORDER BY id", (answer,))
            entries = self.rows(ENTRIES + " WHERE id > ? ORDER BY id", (entry,))
        return Added(
            items=[row[0] for row in items if _readable(item_of, row) is not None],
            answers=[
                (read.id, read.item, read.maker.kind)
                for read in (_readable(answer_of, row) for row in answers)
                if read is not None
            ],
            entries=[entry_of(row) for row in entries],
            last=tuple(
                rows[-1][0] if rows else before
                for rows, before in ((items, item), (answers, answer), (entries, entry))
            ),
        )

    def prompts(self) -> set[tuple[Turn, ...]]:
        """All prompts, to recognise new ones."""
        return {item.prompt for item in self.items()}

    # -- entries --------------------------------------------------------------------------------------------------

    def annotate(
        self,
        item: int,
        annotation: Annotation,
        annotator: str,
        annotator_kind: AnnotatorKind = "person",
        *,
        note: str | None = None,
        written: NewAnswer | None = None,
        at: float | None = None,
    ) -> int:
        """Save an annotation, with the answer that the annotator wrote, if any. It is on disk when this returns."""
        with self.writing() as connection:
            if written is not None:
                (number,) = insert_answers(connection, item, [written])
                annotation = with_written(annotation, number)
            return insert_entry(
                connection, item, annotator, annotator_kind, annotation=annotation, note=note, at=at
            )

    def propose(self, item: int, proposal: Proposal) -> int:
        """Save a judge model's proposal; it does not count as an annotation."""
        with self.writing() as connection:
            return insert_entry(connection, item, proposal.judge, "ai", proposal=proposal)

    def note(self, item: int, text: str, annotator: str) -> int:
        """Save a note about an item."""
        with self.writing() as connection:
            return insert_entry(connection, item, annotator, "person", note=text)

    def undo(self, annotator: str) -> Entry | None:
        """Undo the annotator's last active annotation or note, by adding an entry; None when there is none."""
        with self.writing() as connection:
            row = connection.execute(
                "SELECT id FROM entry AS e WHERE rater = ? AND rater_kind = 'person' AND undoes IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM entry WHERE undoes = e.id) ORDER BY id DESC LIMIT 1",
                (annotator,),
            ).fetchone()
            if row is None:
                return None
            (undone_row,) = self.rows(ENTRIES + " WHERE id = ?", row)
            undone = entry_of(undone_row)
            insert_entry(connection, undone.item, annotator, "person", undoes=undone.id)
        return undone

    def entries(self) -> list[Entry]:
        """All entries in order, including undone ones and those that undo them."""
        return list(self.contents().entries)

    def active_entries(self) -> list[Entry]:
        """Entries that were not undone."""
        return self.contents().active_entries

    def annotation_count(self) -> int:
        """The number of active annotations on disk, without skipped and flagged items."""
        ((count,),) = self.rows(ANNOTATION_COUNT)
        return int(count)


def contents_of(
    items: Sequence[tuple[Any, ...]], answers: Sequence[tuple[Any, ...]], entries: Sequence[tuple[Any, ...]]
) -> Contents:
    """Rows as records, and the problems of unreadable ones."""
    problems: list[RowProblem] = []
    answers_of: dict[int, list[Answer]] = {}
    for row in answers:
        try:
            answer = answer_of(row)
        except UnreadableRow as error:
            problems.append(RowProblem(table="answer", id=row[0], problem=str(error)))
        else:
            answers_of.setdefault(answer.item, []).append(answer)
    read_items: list[Item] = []
    for row in items:
        try:
            item = item_of(row)
        except UnreadableRow as error:
            problems.append(RowProblem(table="item", id=row[0], problem=str(error)))
        else:
            own = tuple(answers_of.get(item.id, ()))
            read_items.append(msgspec.structs.replace(item, answers=own))
    ids = {item.id: {answer.id for answer in item.answers} for item in read_items}
    read_entries = tuple(checked(entry, ids.get(entry.item)) for entry in map(entry_of, entries))
    problems += [
        RowProblem(table="entry", id=entry.id, problem=entry.problem)
        for entry in read_entries
        if entry.problem
    ]
    return Contents(items=tuple(read_items), entries=read_entries, problems=tuple(problems))


def _readable(read: Callable[[tuple[Any, ...]], T], row: tuple[Any, ...]) -> T | None:
    try:
        return read(row)
    except UnreadableRow:
        return None

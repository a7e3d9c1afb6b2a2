"""Rows of a collection's tables: written from records, and read back as such."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec

from tuner_tui.feedback.records import (
    Annotation,
    AnnotatorKind,
    Answer,
    Entry,
    Item,
    Maker,
    NewAnswer,
    Proposal,
    Verdict,
)
from tuner_tui.generation.messages import Turn
from tuner_tui.text import plain

T = TypeVar("T")

ANSWERS = "SELECT id, item, text, is_finished, maker FROM answer"
ENTRIES = "SELECT id, item, at, rater, rater_kind, judgement, proposal, note, undoes FROM entry"


class NewEntry(NamedTuple):
    """An annotation, or a judge model's proposal, that is not stored yet."""

    annotator: str
    annotator_kind: AnnotatorKind
    make: Callable[[Sequence[int]], Annotation | Proposal]
    """Given the ids of the item's answers."""
    is_proposal: bool = False


class NewItem(NamedTuple):
    """A prompt with answers and entries; or entries about an item that exists."""

    prompt: Sequence[Turn]
    origin: str
    answers: Sequence[NewAnswer]
    entries: Sequence[NewEntry]
    number: int | None = None
    """The item that exists, with the ids of its answers."""
    ids: tuple[int, ...] = ()


def statements(script: str) -> Iterator[str]:
    """A script's statements; `executescript` would commit between them."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if part.strip() and sqlite3.complete_statement(part):
            yield part
            part = ""


def insert_item(connection: sqlite3.Connection, prompt: Sequence[Turn], origin: str) -> int:
    """Add a prompt; returns its id."""
    done = connection.execute(
        "INSERT INTO item (prompt, origin, added) VALUES (?, ?, ?)",
        (_storable(msgspec.json.encode(tuple(prompt)).decode()), _storable(origin), time.time()),
    )
    return int(done.lastrowid or 0)


def insert_answers(connection: sqlite3.Connection, item: int, answers: Sequence[NewAnswer]) -> list[int]:
    """Add an item's answers; returns their ids."""
    ids = []
    for answer in answers:
        done = connection.execute(
            "INSERT INTO answer (item, text, is_finished, maker, added) VALUES (?, ?, ?, ?, ?)",
            (
                item,
                _storable(answer.text),
                answer.is_finished,
                msgspec.json.encode(answer.maker).decode(),
                time.time(),
            ),
        )
        ids.append(int(done.lastrowid or 0))
    return ids


def insert_entry(
    connection: sqlite3.Connection,
    item: int,
    annotator: str,
    annotator_kind: AnnotatorKind,
    *,
    annotation: Annotation | None = None,
    proposal: Proposal | None = None,
    note: str | None = None,
    undoes: int | None = None,
    at: float | None = None,
) -> int:
    """Add an entry about an item; returns its id."""
    done = connection.execute(
        "INSERT INTO entry (item, at, rater, rater_kind, judgement, proposal, note, undoes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            item,
            time.time() if at is None else at,
            annotator,
            annotator_kind,
            annotation and msgspec.json.encode(annotation).decode(),
            proposal and msgspec.json.encode(proposal).decode(),
            None if note is None else _storable(note),
            undoes,
        ),
    )
    return int(done.lastrowid or 0)


def insert_imported(connection: sqlite3.Connection, item: NewItem) -> int:
    """Add an item with its entries, or entries to one that exists; returns the item's id."""
    number = insert_item(connection, item.prompt, item.origin) if item.number is None else item.number
    ids = insert_answers(connection, number, item.answers) if item.number is None else item.ids
    for entry in item.entries:
        made = entry.make(ids)
        what = {"proposal": made} if isinstance(made, Proposal) else {"annotation": made}
        insert_entry(connection, number, entry.annotator, entry.annotator_kind, **what)
    return number


def with_written(annotation: Annotation, number: int) -> Annotation:
    """The annotation with the answer that was written for it: shown last, and preferred to all others."""
    changes: dict[str, Any] = {"written": number, "shown": (*annotation.shown, number)}
    if annotation.verdict != "demonstration":
        changes["ranks"] = (*(2 for _ in annotation.shown), 1)
    return msgspec.structs.replace(annotation, **changes)


class UnreadableRow(Exception):
    """A row that this version cannot read; the text says why."""


def item_of(row: tuple[Any, ...]) -> Item:
    """An item's id, prompt and origin, without its answers. Raises UnreadableRow."""
    number, prompt, origin = row
    _require("origin", origin, str)
    return Item(id=number, prompt=_decoded(prompt, _turns, "prompt"), origin=origin)


def answer_of(row: tuple[Any, ...]) -> Answer:
    """A row of `ANSWERS`. Raises UnreadableRow."""
    number, item, text, is_finished, maker = row
    _require("item", item, int)
    _require("text", text, str)
    if is_finished not in (None, 0, 1):
        raise UnreadableRow(f"is_finished: expected 0, 1 or nothing, got {_shown(is_finished)}")
    return Answer(
        id=number,
        item=item,
        text=text,
        is_finished=None if is_finished is None else bool(is_finished),
        maker=_decoded(maker, _maker, "maker"),
    )


def entry_of(row: tuple[Any, ...]) -> Entry:
    """A row of `ENTRIES`; an unreadable one keeps its id and gives the reason in `problem`."""
    number, item, at, annotator, annotator_kind, annotation, proposal, note, undoes = row
    try:
        _require("item", item, int)
        _require("at", at, (int, float))
        _require("rater", annotator, str)
        _require("note", note, (str, NoneType))
        _require("undoes", undoes, (int, NoneType))
        if annotator_kind not in get_args(AnnotatorKind):
            raise UnreadableRow(f"rater_kind: {_shown(annotator_kind)} is not known to this version")
        return Entry(
            id=number,
            item=item,
            at=at,
            annotator=annotator,
            annotator_kind=annotator_kind,
            annotation=None if annotation is None else _annotation_of(annotation),
            proposal=None if proposal is None else _decoded(proposal, _proposal, "proposal"),
            note=note,
            undoes=undoes,
        )
    except UnreadableRow as error:
        return Entry(
            id=number,
            item=item if isinstance(item, int) else 0,
            at=at if isinstance(at, (int, float)) else 0.0,
            annotator=annotator if isinstance(annotator, str) else "",
            annotator_kind="ai" if annotation is None and proposal is not None else "person",
            undoes=undoes if isinstance(undoes, int) else None,
            problem=str(error),
        )


def checked(entry: Entry, answers: Collection[int] | None) -> Entry:
    """The entry, or one that names missing answers; `answers`: the readable ones of its item, None if it is missing."""
    if entry.problem or (entry.annotation is None and entry.proposal is None):
        return entry
    if answers is None:
        return _without_content(entry, f"its item {entry.item} is missing or cannot be read")
    named = set(entry.annotation.shown) if entry.annotation is not None else set()
    if entry.annotation is not None and entry.annotation.written is not None:
        named.add(entry.annotation.written)
    if entry.proposal is not None:
        named |= set(entry.proposal.answers) | {
            answer for answer in entry.proposal.preferred if answer is not None
        }
    missing = sorted(named.difference(answers))
    if missing:
        names = ", ".join(map(str, missing[:5]))
        return _without_content(entry, f"answer {names} of its item is missing or cannot be read")
    return entry


def _without_content(entry: Entry, problem: str) -> Entry:
    return msgspec.structs.replace(entry, annotation=None, proposal=None, problem=problem)


def _annotation_of(content: object) -> Annotation:
    try:
        annotation = _decoded(content, _annotation, "judgement")
    except UnreadableRow:
        verdict = _verdict_in(content)
        if verdict is not None and verdict not in get_args(Verdict):
            raise UnreadableRow(
                f"verdict: {_shown(verdict)} is not known to this version (a newer tuner-tui may know it)"
            ) from None
        raise
    if len(set(annotation.shown)) < len(annotation.shown):
        raise UnreadableRow("judgement: an answer is shown twice")
    if annotation.verdict in ("thumbs", "scores") and not annotation.scores:
        raise UnreadableRow(f"judgement: {annotation.verdict} without scores")
    for name in ("ranks", "scores"):
        values = getattr(annotation, name)
        if values and len(values) != len(annotation.shown):
            raise UnreadableRow(
                f"judgement: expected {len(annotation.shown)} {name}, one for each answer, got {len(values)}"
            )
    return annotation


def _verdict_in(content: object) -> object:
    try:
        value = msgspec.json.decode(content) if isinstance(content, (str, bytes)) else None
    except (ValueError, RecursionError):
        return None
    return value.get("verdict") if isinstance(value, dict) else None


def _decoded(content: object, decoder: msgspec.json.Decoder[T], column: str) -> T:
    if not isinstance(content, (str, bytes)):
        raise UnreadableRow(f"{column}: expected JSON text, got {_shown(content)}")
    try:
        return decoder.decode(content)
    except RecursionError:
        raise UnreadableRow(f"{column}: it is nested too deeply") from None
    except ValueError as error:
        raise UnreadableRow(f"{column}: {plain(str(error))[:200]}") from None


def _require(column: str, value: object, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind):
        wanted = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(_KIND_NAMES[expected] for expected in wanted)
        raise UnreadableRow(f"{column}: expected {names}, got {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes that are not text"
    text = plain(repr(value))
    return text if len(text) <= 60 else text[:59] + "…"


_KIND_NAMES: dict[type, str] = {int: "a number", float: "a decimal number", str: "text", NoneType: "nothing"}
_turns = msgspec.json.Decoder(tuple[Turn, ...])
_maker = msgspec.json.Decoder(Maker)
_annotation = msgspec.json.Decoder(Annotation)
_proposal = msgspec.json.Decoder(Proposal)


def _storable(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, which models do produce, become replacement characters."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text

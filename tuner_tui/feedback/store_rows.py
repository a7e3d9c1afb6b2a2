"""Rows of a collection's tables: written from records, and read back as such."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tuner_tui.feedback.records import Answer, Entry, Judgement, Maker, NewAnswer, Proposal, RaterKind
from tuner_tui.generation.messages import Turn

ANSWERS = "SELECT id, item, text, is_finished, maker FROM answer"
ENTRIES = "SELECT id, item, at, rater, rater_kind, judgement, proposal, note, undoes FROM entry"


def statements(script: str) -> Iterator[str]:
    """A script's statements; `executescript` would commit between them."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if part.strip() and sqlite3.complete_statement(part):
            yield part
            part = ""


def insert_item(connection: sqlite3.Connection, prompt: Sequence[Turn], origin: str) -> int:
    """Add a prompt; gives its number."""
    done = connection.execute(
        "INSERT INTO item (prompt, origin, added) VALUES (?, ?, ?)",
        (_storable(msgspec.json.encode(tuple(prompt)).decode()), _storable(origin), time.time()),
    )
    return int(done.lastrowid or 0)


def insert_answers(connection: sqlite3.Connection, item: int, answers: Sequence[NewAnswer]) -> list[int]:
    """Add an item's answers; gives their numbers."""
    found = []
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
        found.append(int(done.lastrowid or 0))
    return found


def insert_entry(
    connection: sqlite3.Connection,
    item: int,
    rater: str,
    rater_kind: RaterKind,
    *,
    judgement: Judgement | None = None,
    proposal: Proposal | None = None,
    note: str | None = None,
    undoes: int | None = None,
    at: float | None = None,
) -> int:
    """Add what was said of an item; gives the entry's number."""
    done = connection.execute(
        "INSERT INTO entry (item, at, rater, rater_kind, judgement, proposal, note, undoes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            item,
            time.time() if at is None else at,
            rater,
            rater_kind,
            judgement and msgspec.json.encode(judgement).decode(),
            proposal and msgspec.json.encode(proposal).decode(),
            None if note is None else _storable(note),
            undoes,
        ),
    )
    return int(done.lastrowid or 0)


def with_written(judgement: Judgement, number: int) -> Judgement:
    """The judgement with the answer that was written in it: shown last, and preferred to all others."""
    changes: dict[str, Any] = {"written": number, "shown": (*judgement.shown, number)}
    if judgement.verdict != "demonstration":
        changes["ranks"] = (*(2 for _ in judgement.shown), 1)
    return msgspec.structs.replace(judgement, **changes)


def answer_of(row: tuple[Any, ...]) -> Answer:
    """A row of `ANSWERS`."""
    number, item, text, is_finished, maker = row
    return Answer(
        id=number,
        item=item,
        text=text,
        is_finished=None if is_finished is None else bool(is_finished),
        maker=msgspec.json.decode(maker, type=Maker),
    )


def entry_of(row: tuple[Any, ...]) -> Entry:
    """A row of `ENTRIES`."""
    number, item, at, rater, rater_kind, judgement, proposal, note, undoes = row
    return Entry(
        id=number,
        item=item,
        at=at,
        rater=rater,
        rater_kind=rater_kind,
        judgement=judgement and msgspec.json.decode(judgement, type=Judgement),
        proposal=proposal and msgspec.json.decode(proposal, type=Proposal),
        note=note,
        undoes=undoes,
    )


def _storable(text: str) -> str:
    """Text that can be UTF-8: halves of surrogate pairs, which models do produce, become replacement characters."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text

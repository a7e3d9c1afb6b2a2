"""Rows to look through: a page of those that hold some words, each with what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from tuner_tui.data.checking.scan import suspicions
from tuner_tui.data.files.rows import Found
from tuner_tui.data.recognition.reading import Reading, plain_rows, raw_rows
from tuner_tui.data.rows.content import texts_of, turn_texts, turn_title
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

LOOK_AGAIN_ROWS = 500


@dataclass(frozen=True)
class RowFound:
    """One row as stored and as read."""

    place: int
    """Among all rows, from 1."""
    number: int
    """Of its line, or place in its file."""
    summary: str
    """What it says, on one line."""
    kept: tuple[tuple[str, str], ...]
    """Field and text, as in the file."""
    read_as: tuple[tuple[str, str], ...] = ()
    """Who or what, and the text."""
    problem: InputError | None = None
    suspicions: tuple[str, ...] = ()
    """Such as "hidden characters"."""


def find_rows(
    reading: Reading, words: str = "", after: int = 0, most: int = 100,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> list[RowFound]:  # fmt: skip
    """The rows beyond a place that hold some words, whatever their case; nothing is held of the others.

    Raises InputError as reading does, unless rows were found before the place that cannot be read.
    """
    found: list[RowFound] = []
    sought = words.casefold().strip()
    try:
        for place, (raw, plain) in enumerate(_both(reading), 1):
            if place % LOOK_AGAIN_ROWS == 0 and is_cancelled():
                break
            if place <= after:
                continue
            row = row_found(place, raw, plain)
            if not sought or any(sought in text.casefold() for _, text in (*row.kept, *row.read_as)):
                found.append(row)
                if len(found) == most:
                    break
    except InputError:
        if not found:
            raise
    return found


def row_found(place: int, raw: Found, plain: Found) -> RowFound:
    """One row in words."""
    stored_fields = () if isinstance(raw.row, InputError) else tuple(_fields(raw.row))
    if isinstance(plain.row, InputError):
        return RowFound(place, raw.number, plain.row.title, stored_fields, (), plain.row)
    read_as = tuple(_read_as(plain.row))
    kinds = {kind for text in texts_of(plain.row) for kind in suspicions(text)}
    summary = "  ".join(" ".join(text.split()) for _, text in read_as if text)
    return RowFound(place, raw.number, summary, stored_fields, read_as, None, tuple(sorted(kinds)))


def _both(reading: Reading) -> Iterator[tuple[Found, Found]]:
    """Each row as stored and as read; of a mixture, what is mixed in is only known as read."""
    plain = plain_rows(reading, with_fixes=False).rows
    if reading.also or reading.part != "all":
        yield from ((found, found) for found in plain)
        return
    for raw, read in zip_longest(raw_rows(reading), plain):
        if raw is not None and read is not None:
            yield raw, read


def _fields(row: Row) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        yield (
            str(name),
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
        )


def _read_as(row: Row) -> Iterator[tuple[str, str]]:
    for part, value in row.items():
        if isinstance(value, list) and part != "tools":
            for turn in value:
                who = turn_title(turn)
                yield (who if part == "messages" else f"{part}, {who}"), "\n".join(turn_texts(turn))
        else:
            yield (
                part,
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
            )

"""Rows of JSONL and JSON files, one after the other, whatever the size of the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.files.json_scanner import Scanner
from tuner_tui.data.files.opened import LARGEST_ROW_BYTES, not_utf8, open_utf8, too_large
from tuner_tui.errors import InputError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = dict[str, Any]
Numbered = tuple[int, Row | InputError]
"""A row, or what is wrong with it, under the number of its line or place, from 1."""

DEFAULT_SPLITS = ("train", "training", "data", "rows", "examples", "items")
_NOT_JSON = re.compile(rb"[:\[,]\s*-?(?:NaN|Infinity)\b")


def read_jsonl(path: Path, encoding: str | None = None) -> Iterator[Numbered]:
    """Each line's object under its line number; blank lines are passed over."""
    decode = msgspec.json.Decoder().decode
    with open_utf8(path, encoding) as file:
        number = 0
        while line := file.readline(LARGEST_ROW_BYTES + 1):
            number += 1
            if len(line) > LARGEST_ROW_BYTES:
                raise too_large(path, number)
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                text = line.strip()
                if not text:
                    continue
                if b"\r" in text:  # lines that end in CR alone
                    parts = [part.strip() for part in text.split(b"\r")]
                    for offset, part in enumerate(parts):
                        if part:
                            yield number + offset, _decoded(decode, part, path, number + offset)
                    number += len(parts) - 1
                    continue
                yield number, _explained(error, text, path, number)
                continue
            yield number, row if type(row) is dict else _as_row(row, path, number)


def _decoded(decode: Any, text: bytes, path: Path, number: int) -> Row | InputError:
    try:
        row = decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _explained(error, text, path, number)
    return row if isinstance(row, dict) else _as_row(row, path, number)


def _explained(error: Exception, text: bytes, path: Path, number: int) -> InputError:
    where = f"{path}:{number}"
    if isinstance(error, RecursionError):
        return InputError("A row is nested too deeply", f"{where}.")
    if isinstance(error, UnicodeDecodeError) or "UTF-8" in str(error) or _is_broken_utf8(text):
        return not_utf8(path, number, text)
    if b"\0" in text:
        return InputError(
            "A row is not JSON",
            f"{where}: it holds NUL bytes.",
            'The file is binary, damaged, or UTF-16 without a byte order mark (data.encoding = "utf-16-le").',
        )
    hint = "Each line must be one JSON object (JSONL)."
    if _NOT_JSON.search(text):
        hint += " JSON has neither NaN nor Infinity: write null."
    if "truncated" in str(error).lower():
        hint += " This one ends too early: the file may be truncated."
    return InputError("A row is not JSON", f"{where}: {error}.", hint)


def _is_broken_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


def _as_row(value: Any, path: Path, number: int) -> Row | InputError:
    """A list of turns as the row that it stands for; the error for any other value without fields."""
    if isinstance(value, list) and value and all(map(_speaks, value)):
        return {"messages": value}
    return not_an_object(value, path, number)


def not_an_object(row: object, path: Path, number: int) -> InputError:
    """The error for a row that has no fields."""
    return InputError(
        "A row is not an object",
        f"{path}:{number}: expected {{...}} with named fields, found {_kind(row)}.",
    )


def _kind(value: object) -> str:
    names = {"int": "a number", "float": "a number", "str": "text", "list": "a list", "bool": "true or false"}
    return "null" if value is None else names.get(type(value).__name__, type(value).__name__)


def splits_of(path: Path, encoding: str | None = None) -> list[str]:
    """The names of the splits of a JSON file that is an object of arrays; empty for a plain array."""
    with open_utf8(path, encoding) as file:
        scanner = Scanner(file, path)
        if scanner.peek() != "{":
            return []
        return [name for name, _, _ in _splits(scanner, "", {})]


def read_json(
    path: Path,
    encoding: str | None = None,
    split: str | None = None,
    not_read: dict[str, str] | None = None,
) -> Iterator[Numbered]:
    """Each object of a JSON array, or of one split's array, under its place in the array.

    Objects that are rows may also follow each other, as `jq` writes them. `not_read` gets the other keys of an object
    of splits, and how many rows each holds. Raises InputError that names file and line
    for other content, also after the rows, or a truncated file.
    """
    with open_utf8(path, encoding) as file:
        scanner = Scanner(file, path)
        if scanner.peek() == "[":
            yield from _array(scanner)
            scanner.require_end()
            return
    if split is None and _is_row(path, encoding):
        with open_utf8(path, encoding) as file:
            yield from _objects(Scanner(file, path))
            return
    with open_utf8(path, encoding) as file:
        scanner = Scanner(file, path)
        names: list[str] = []
        for name, number, row in _splits(scanner, split, {} if not_read is None else not_read):
            if number:
                yield number, row
            else:
                names.append(name)
        scanner.require_end()
        if split is not None and split not in names:
            raise no_such_split(path, split, names)


def _is_row(path: Path, encoding: str | None) -> bool:
    """Whether a JSON object is one row, not rows by split: it has fields that are no lists, or a list of turns.

    Raises InputError for broken JSON.
    """
    has_rows = has_field = False
    with open_utf8(path, encoding) as file:
        scanner = Scanner(file, path)
        scanner.take("{")
        while scanner.peek() not in ("}", ""):
            name = scanner.value(0)
            scanner.take(":")
            if scanner.peek() == "[":
                scanner.take("[")
                first = None if scanner.peek() == "]" else scanner.value(0)
                if name in DEFAULT_SPLITS and (first is None or isinstance(first, dict)):
                    return False
                if _speaks(first):
                    return True
                has_rows = has_rows or isinstance(first, dict | None)
                if scanner.peek() == ",":
                    scanner.take(",")
                scanner.rest_of_array()
            else:
                scanner.value(0)
                has_field = True
            if scanner.peek() == ",":
                scanner.take(",")
    return has_field or not has_rows


def _speaks(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(value.get(key), str) for key in ("role", "from", "speaker")
    )


def no_such_split(path: Path, split: str, names: list[str]) -> InputError:
    """The error for a split that a data set lacks."""
    return InputError(
        "There is no such split",
        f"{path} has no split {split!r}; it has {', '.join(names) or 'none'}.",
        "Set data.split to one of them.",
    )


def _array(scanner: Scanner) -> Iterator[Numbered]:
    scanner.take("[")
    number = 0
    if scanner.peek() == "]":
        scanner.take("]")
        return
    while True:
        number += 1
        row = scanner.value(number)
        yield number, row if isinstance(row, dict) else _as_row(row, scanner.path, number)
        if scanner.peek() == "]":
            scanner.take("]")
            return
        scanner.take(",")


def _objects(scanner: Scanner) -> Iterator[Numbered]:
    """Objects one after the other, each a row."""
    number = 0
    while scanner.peek():
        number += 1
        if scanner.peek() != "{":
            scanner.require_end()
        row = scanner.value(number)
        yield number, row if isinstance(row, dict) else not_an_object(row, scanner.path, number)


def _splits(
    scanner: Scanner, wanted: str | None, others: dict[str, str]
) -> Iterator[tuple[str, int, Row | InputError]]:
    """Each split's name with number 0, then its rows when it is wanted; None wants the training rows.

    `others` gets what is not wanted, and how many rows it holds.
    """
    scanner.take("{")
    taken = False
    while scanner.peek() != "}":
        name = scanner.value(0)
        scanner.take(":")
        if isinstance(name, str) and scanner.peek() not in ("[", "") and taken:
            if scanner.value(0) not in (None, "", {}):
                others[name] = "not rows"
            if scanner.peek() == ",":
                scanner.take(",")
            continue
        if not isinstance(name, str) or scanner.peek() != "[":
            raise InputError(
                "The JSON is neither rows nor splits",
                f"{scanner.path}:{scanner.line}: expected an array of rows, or an object whose values are such arrays.",
                "Write an array of objects, or one object per line (JSONL).",
            )
        yield name, 0, {}
        is_wanted = name == wanted or (wanted is None and not taken and name in DEFAULT_SPLITS)
        taken = taken or is_wanted
        number = 0
        for number, row in _array(scanner):
            if is_wanted:
                yield name, number, row
        if not is_wanted and number:
            others[name] = counted(number, "row")
        if scanner.peek() != ",":
            break
        scanner.take(",")
    scanner.take("}")
    if wanted is None and not taken:
        raise InputError(
            "Which split?",
            f"{scanner.path} is an object of arrays, and none is called train.",
            "Set data.split to the one that is meant.",
        )

"""Rows of CSV, TSV, Parquet, Arrow and plain text files."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.files.json_rows import Numbered, Row
from tuner_tui.data.files.opened import (
    HEAD_BYTES,
    LARGEST_ROW_BYTES,
    not_utf8,
    open_utf8,
    require_plausible,
    too_large,
)
from tuner_tui.data.files.table_child import TOO_LARGE, ReadTable
from tuner_tui.errors import InputError
from tuner_tui.limited.process import Crashed, ItemFault, LimitedProcess
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEAST_ROW_BYTES = 16
"""The least size that a row counts when a file's unpacked size is limited."""
LARGEST_COLUMNS = 10_000
"""Each row takes memory for every column, also where it has no value."""
DELIMITERS = ",;\t|"


def read_csv(path: Path, encoding: str | None = None, *, delimiter: str | None = None) -> Iterator[Numbered]:
    """Each record under the number of the line it ends on; every value is text, a missing one None."""
    csv.field_size_limit(LARGEST_ROW_BYTES)
    with open_utf8(path, encoding) as file, _as_text(file, path) as text:
        if delimiter is None:
            delimiter = _delimiter(path, encoding)
        reader = csv.reader(text, delimiter=delimiter)
        names: list[str] | None = None
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if "field larger" in str(error):
                    raise too_large(path, reader.line_num) from error
                yield (
                    reader.line_num,
                    InputError("A record is not CSV", f"{path}:{reader.line_num}: {error}."),
                )
                continue
            except UnicodeDecodeError as error:
                line = reader.line_num + 1 + error.object.count(b"\n", 0, error.start)
                raise not_utf8(path, line, error.object) from error
            if cells is None:
                return
            if not cells:
                continue
            if names is None:
                names = _column_names(cells, path)
            else:
                yield reader.line_num, _record(names, cells, path, reader.line_num)


def _as_text(file: Any, path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8", newline="")


def _delimiter(path: Path, encoding: str | None) -> str:
    """The separator that the header line holds most of."""
    with open_utf8(path, encoding) as file:
        header = file.readline(HEAD_BYTES).decode("utf-8", "replace")
    most = max(DELIMITERS, key=header.count)
    return most if most in header else ","


def _column_names(cells: list[str], path: Path) -> list[str]:
    if len(cells) > LARGEST_COLUMNS:
        raise InputError(
            "There are too many columns",
            f"{path}:1: {len(cells):,}; at most {LARGEST_COLUMNS:,} are read.",
            "Check which separator the file has.",
        )
    names = [cell.strip() for cell in cells]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(
            "Two columns have the same name",
            f"{path}:1: {', '.join(twice)}.",
            "Give each column a unique name.",
        )
    return names


def _record(names: list[str], cells: list[str], path: Path, number: int) -> Row | InputError:
    if len(cells) > len(names):
        return InputError(
            "A record has too many fields",
            f"{path}:{number}: {counted(len(cells), 'field')}, and the header has {len(names)}.",
            "Quote fields that contain the separator or a line break.",
        )
    missing = [None] * (len(names) - len(cells))
    return dict(zip(names, [*cells, *missing], strict=True))


def read_parquet(path: Path, columns: list[str] | None = None) -> Iterator[Numbered]:
    """Each row of a Parquet file, numbered from 1. Raises InputError for a damaged file, or one that unpacks far."""
    return _read_limited(path, ReadTable(str(path), True, columns), "Parquet")


def read_arrow(path: Path) -> Iterator[Numbered]:
    """Each row of an Arrow file or stream, numbered from 1. Raises InputError as `read_parquet` does."""
    return _read_limited(path, ReadTable(str(path), False), "Arrow")


def _read_limited(path: Path, request: ReadTable, kind: str) -> Iterator[Numbered]:
    """Rows as a limited child reads them: a small file may unpack to far more than the memory."""
    import pyarrow as pa

    number = unpacked_bytes = 0
    stored_bytes = path.stat().st_size
    with LimitedProcess("tuner_tui.data.files.table_child", str(path)) as child:
        try:
            for data in child.ask(msgspec.msgpack.encode(request)):
                unpacked_bytes += len(data)
                require_plausible(path, stored_bytes, unpacked_bytes)
                for batch in pa.ipc.open_stream(data):
                    batch.validate(full=True)
                    unpacked_bytes += LEAST_ROW_BYTES * batch.num_rows
                    plain = {
                        field.name: each
                        for field in batch.schema
                        if (each := plain_value(field.type)) is not None
                    }
                    for row in batch.to_pylist():
                        number += 1
                        for name, make in plain.items():
                            row[name] = make(row[name])
                        yield number, row
        except Crashed as error:
            raise InputError(
                f"The {kind} file cannot be read",
                f"{path}: {error.reason}",
                "It is damaged or truncated; fetch or write it again.",
            ) from error
        except ItemFault as error:
            if error.title == TOO_LARGE:
                raise too_large(path, number + 1) from error
            raise


def plain_value(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a value of an Arrow type what a row said; None where it is that already.

    A struct has every key that any row has, so null in one stands for a key that is absent. Text of the type
    `arrow.json`, which `datasets` writes for objects of several forms, is what it is JSON of.
    """
    from pyarrow import types

    if getattr(kind, "extension_name", "") == "arrow.json":
        return _from_json
    if types.is_struct(kind):
        inner = {field.name: plain_value(field.type) for field in kind}
        return lambda value: _without_nulls(value, inner)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        make = plain_value(kind.value_type)
        if make is not None:
            return lambda value: None if value is None else [make(each) for each in value]
    if types.is_map(kind):
        return lambda value: None if value is None else dict(value)
    return None


def _without_nulls(value: Any, inner: dict[str, Callable[[Any], Any] | None]) -> Any:
    if value is None:
        return None
    return {
        name: each if (make := inner[name]) is None else make(each)
        for name, each in value.items()
        if each is not None
    }


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value


def read_text(path: Path, encoding: str | None = None) -> Iterator[Numbered]:
    """Each paragraph as `text` under the number of its first line; each line, where no line is blank."""
    has_paragraphs = _has_blank_lines(path, encoding)
    with open_utf8(path, encoding) as file:
        held: list[str] = []
        held_bytes = begin = number = 0
        while line := file.readline(LARGEST_ROW_BYTES + 1):
            number += 1
            held_bytes += len(line)
            if held_bytes > LARGEST_ROW_BYTES:
                raise too_large(path, number)
            try:
                text = line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, line) from error
            if text.strip():
                begin = begin or number
                held.append(text)
            if held and (not has_paragraphs or not text.strip()):
                yield begin, {"text": "\n".join(held)}
            if not held or not has_paragraphs or not text.strip():
                held, held_bytes, begin = [], 0, 0
        if held:
            yield begin, {"text": "\n".join(held)}


def between_texts(path: Path, encoding: str | None = None) -> str:
    """What stands between two rows of a text file: a blank line, or the end of a line."""
    return "\n\n" if _has_blank_lines(path, encoding) else "\n"


def _has_blank_lines(path: Path, encoding: str | None) -> bool:
    with open_utf8(path, encoding) as file:
        lines = file.read(HEAD_BYTES).rstrip().split(b"\n")
    return any(not line.strip() for line in lines)

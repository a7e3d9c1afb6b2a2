"""Rows of CSV, TSV, Parquet, Arrow and plain text files."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

from tuner_tui.data.json_rows import Numbered, Row, too_large
from tuner_tui.data.opened import HEAD_BYTES, LARGEST_ROW_BYTES, not_utf8, open_utf8
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

BATCH_BYTES = 8 << 20
LARGEST_BATCH_ROWS = 1024
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
                raise not_utf8(path, reader.line_num + 1, error.object) from error
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
    names = [cell.strip() for cell in cells]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(
            "Two columns have one name",
            f"{path}:1: {', '.join(twice)}.",
            "Give each column a name of its own.",
        )
    return names


def _record(names: list[str], cells: list[str], path: Path, number: int) -> Row | InputError:
    if len(cells) > len(names):
        return InputError(
            "A record has too many fields",
            f"{path}:{number}: {len(cells)} fields, and the header has {len(names)}.",
            "A field that holds the separator or a line end must stand in quotes.",
        )
    missing = [None] * (len(names) - len(cells))
    return dict(zip(names, [*cells, *missing], strict=True))


def read_parquet(path: Path, columns: list[str] | None = None) -> Iterator[Numbered]:
    """Each row of a Parquet file, numbered from 1. Raises InputError for a damaged file."""
    import pyarrow.parquet as pq

    with _explaining(path, "Parquet"), pq.ParquetFile(path) as file:
        metadata = file.metadata
        stored = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        per_row = stored // max(1, metadata.num_rows)
        rows = max(1, min(LARGEST_BATCH_ROWS, BATCH_BYTES // max(1, per_row)))
        yield from _of_batches(file.iter_batches(batch_size=rows, columns=columns))


def read_arrow(path: Path) -> Iterator[Numbered]:
    """Each row of an Arrow file or stream, numbered from 1. Raises InputError for a damaged file."""
    import pyarrow as pa

    with (
        _explaining(path, "Arrow"),
        pa.OSFile(str(path)) as file,
    ):  # a mapped file that shrinks would end the process
        if file.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(file)
            batches: Any = (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            file.seek(0)
            batches = pa.ipc.open_stream(file)
        yield from _of_batches(batches)


def _of_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[Numbered]:
    number = 0
    for batch in batches:
        batch.validate(full=True)  # lying offsets would be followed out of the buffer
        for begin in range(0, batch.num_rows, LARGEST_BATCH_ROWS):
            for row in batch.slice(begin, LARGEST_BATCH_ROWS).to_pylist():
                number += 1
                yield number, row


@contextlib.contextmanager
def _explaining(path: Path, kind: str) -> Iterator[None]:
    """Say in our words what the columnar library says of a damaged file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, MemoryError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The {kind} file cannot be read",
            f"{path}: {told}",
            "It is damaged or cut off; fetch or write it again.",
        ) from error


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


def _has_blank_lines(path: Path, encoding: str | None) -> bool:
    with open_utf8(path, encoding) as file:
        lines = file.read(HEAD_BYTES).rstrip().split(b"\n")
    return any(not line.strip() for line in lines)

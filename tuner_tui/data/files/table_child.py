"""`python -m tuner_tui.data.files.table_child`: reads Parquet or Arrow in a limited child, some rows at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.files.class_labels import features_of, with_names
from tuner_tui.errors import InputError
from tuner_tui.limited.serving import Watch, serve

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 8 << 20
LARGEST_BATCH_ROWS = 1024
LARGEST_SENT_BYTES = 32 << 20
"""Of the rows that are sent at once; a single row may not have more either."""
TOO_LARGE = "row too large"
"""The title of the fault for a row beyond that; its place is the row's number."""


class ReadTable(msgspec.Struct):
    """Read a file's rows, each answer being an Arrow stream of the next ones."""

    path: str
    is_parquet: bool
    columns: list[str] | None = None


class _Child:
    def handle(self, request: bytes, watch: Watch) -> Iterable[bytes]:
        wanted = msgspec.msgpack.decode(request, type=ReadTable)
        path = Path(wanted.path)
        batches = _parquet(path, wanted.columns) if wanted.is_parquet else _arrow(path)
        return self._sent(batches, path, watch)

    def _sent(self, batches: Iterator[pa.RecordBatch], path: Path, watch: Watch) -> Iterator[bytes]:
        number = 0
        features: dict[str, Any] | None = None
        while True:
            with watch.step(f"{path}, after row {number},", number):
                batch = next(batches, None)
                if batch is None:
                    return
                batch.validate(full=True)  # lying offsets would be followed out of the buffer
                features = features_of(batch.schema) if features is None else features
            for begin in range(0, batch.num_rows, LARGEST_BATCH_ROWS):
                with watch.step(f"{path}, after row {number},", number):
                    some = with_names(_plain(batch.slice(begin, LARGEST_BATCH_ROWS)), features)
                for part in _small(some, number):
                    with watch.step(f"{path}, after row {number},", number):
                        data = _stream(part)
                    yield data
                    number += part.num_rows


def _parquet(path: Path, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        stored = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        per_row = stored // max(1, metadata.num_rows)
        rows = max(1, min(LARGEST_BATCH_ROWS, BATCH_BYTES // max(1, per_row)))
        yield from file.iter_batches(batch_size=rows, columns=columns, use_threads=False)


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:  # a mapped file that shrinks would end the process
        if file.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
        else:
            file.seek(0)
            yield from pa.ipc.open_stream(file)


def _small(batch: pa.RecordBatch, number: int) -> Iterator[pa.RecordBatch]:
    """A batch in parts that are small enough to send. Raises InputError for a single row that is not."""
    if batch.get_total_buffer_size() <= LARGEST_SENT_BYTES or batch.nbytes <= LARGEST_SENT_BYTES:
        yield batch
        return
    if batch.num_rows == 1:
        raise InputError(TOO_LARGE, str(number + 1))
    half = batch.num_rows // 2
    yield from _small(batch.slice(0, half), number)
    yield from _small(batch.slice(half), number + half)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose rows each hold their own values, as to_pylist gives them, in place of shares in one."""
    import pyarrow as pa

    if all(_plain_type(field.type) == field.type for field in batch.schema):
        return batch
    columns = []
    for column in batch.columns:
        kind = _plain_type(column.type)
        columns.append(column if kind == column.type else pa.array(column.to_pylist(), kind))
    fields = [pa.field(field.name, column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _plain_type(kind: Any) -> Any:
    """The type without dictionaries, runs and views, in which a few bytes stand for many rows."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


def _stream(batch: pa.RecordBatch) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema.remove_metadata()) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


if __name__ == "__main__":
    serve(_Child().handle, sys.argv[1:])

"""Tokenised rows kept on disk, by everything that they depend on; made on all cores, a chunk at a time."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.data.files.rows import data_files
from tuner_tui.data.rows.types import iterate_examples
from tuner_tui.data.tokens import token_cache as kept
from tuner_tui.files import replacing
from tuner_tui.worker.text.template_time import dates_in
from tuner_tui.worker.text.tokenised import TokenisedRow
from tuner_tui.worker.text.tokens import TokenisedData, kept_and_dropped, tokenise_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.data.recognition.reading import Reading

VERSION = 6
"""Raised when the same rows would become other tokens."""
SMALLEST_BYTES = 1 << 20
"""Data smaller than this are tokenised quicker than they are looked up."""
ROWS_AT_ONCE = 4096
COLUMNS = ("line", "input_ids", "labels", "full_length", "is_doubtful", "merges")
_log = logging.getLogger(__name__)


def tokenise_file(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, loss_on: str
) -> TokenisedData[TokenisedRow]:
    """Read and tokenise a data set on all cores, or take it from the cache.

    Raises InputError when nothing in it would be trained.
    """
    shape, rows = take_or_make(reading, tokenizer, max_length, loss_on)
    return kept_and_dropped(shape, rows, reading, 'Raise training.max_length, or set method.loss_on = "all".')


def take_or_make(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, loss_on: str
) -> tuple[str, list[TokenisedRow]]:
    """(shape, rows) from the cache, or made now and kept. Raises InputError as reading and tokenising do."""
    shape, examples = iterate_examples(reading)
    rows = tokenise_many(examples, tokenizer, max_length, loss_on, str(reading))
    if _size(reading) < SMALLEST_BYTES or not tokenizer.is_fast:
        return shape, list(rows)
    path = kept.folder() / f"{cache_key(reading, tokenizer, max_length, loss_on)}{kept.SUFFIX}"
    try:
        return shape, read(path)
    except (OSError, ValueError, KeyError):  # not there, or spoiled
        pass
    try:
        write(path, rows, str(reading))
        return shape, read(path)
    except (OSError, ValueError) as error:  # a full disk costs the cache, not the run
        _log.warning("tokens cannot be kept: %s", error)
    _, examples = iterate_examples(reading)
    return shape, list(tokenise_many(examples, tokenizer, max_length, loss_on, str(reading)))


def cache_key(reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, loss_on: str) -> str:
    """A name that stands for the files' contents, how they are read, the tokenizer, its template and the limits."""
    digest = hashlib.sha256()
    for path in _files(reading):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    how = [(name, value) for name, value in vars(reading).items() if name not in ("path", "leak", "also")]
    mixture = [(source.weight, source.rows) for source in reading.also]
    settings: list[Any] = [
        VERSION,
        how,
        mixture,
        reading.leak is not None,
        max_length,
        loss_on,
        tokenizer.chat_template,
        dates_in(tokenizer.chat_template),
        tokenizer.eos_token_id,
    ]
    digest.update(repr(settings).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    return digest.hexdigest()[:32]


def _files(reading: Reading) -> list[Path]:
    """Every file that the rows come from."""
    sources = [source.path for source in reading.also]
    files = [
        *data_files(reading.path, reading.split),
        *(file for path in sources for file in data_files(path)),
    ]
    return files + (data_files(reading.leak) if reading.leak is not None else [])


def _size(reading: Reading) -> int:
    return sum(path.stat().st_size for path in _files(reading))


def write(path: Path, rows: Iterable[TokenisedRow], source: str) -> None:
    """Keep rows, renamed into place when all are there. Raises OSError."""
    import pyarrow as pa

    schema = pa.schema(
        [
            ("line", pa.int64()),
            ("input_ids", pa.list_(pa.int32())),
            ("labels", pa.list_(pa.int32())),
            ("full_length", pa.int32()),
            ("is_doubtful", pa.bool_()),
            ("merges", pa.string()),
        ]
    )
    kept.owned().claim()
    with (
        replacing(path) as making,
        pa.OSFile(str(making), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for chunk in _chunks(rows):
            columns = {name: [getattr(row, name) for row in chunk] for name in COLUMNS}
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema))
    kept.describe(path, source)


def _chunks(rows: Iterable[TokenisedRow]) -> Iterator[list[TokenisedRow]]:
    from itertools import islice

    rest = iter(rows)
    while chunk := list(islice(rest, ROWS_AT_ONCE)):
        yield chunk


def read(path: Path) -> list[TokenisedRow]:
    """The rows that were kept. Raises OSError or ValueError for none, or spoiled ones."""
    import pyarrow as pa

    found: list[TokenisedRow] = []
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            batch.validate(full=True)
            columns = [batch.column(name).to_pylist() for name in COLUMNS]
            found += [TokenisedRow(*values) for values in zip(*columns, strict=True)]
    return found

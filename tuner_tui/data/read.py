"""Reading the rows of a JSONL file, with errors that name file and line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]
DEMO = "demo"
"""Stands for the data set that is shipped with the demo."""


def locate(name: str) -> Path:
    """The file meant by the spec's data.train or data.evaluation. Raises NotFoundError or InputError."""
    path = paths.shipped_dir("assets") / "demo" / "train.jsonl" if name == DEMO else Path(name).expanduser()
    if not path.exists():
        raise NotFoundError(
            "No such data file", str(path), "Check data.train; relative paths count from run.toml."
        )
    if not path.is_file():
        raise InputError("Not a data file", f"{path} is not a regular file.", "Name a JSONL file.")
    return path


def read_rows(path: Path, limit: int | None = None) -> Iterator[tuple[int, Row]]:
    """Each row with its line number, counted from 1; blank lines are passed over.

    Raises InputError on a line that is no JSON object, naming file and line.
    """
    decoder = msgspec.json.Decoder()
    count = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
                if not text:
                    continue
                yield number, _decode_row(decoder, text, path, number)
                count += 1
                if count == limit:
                    return
    except OSError as error:
        raise InputError("The data file cannot be read", f"{path}: {error.strerror or error}.") from error


def _decode_row(decoder: msgspec.json.Decoder[Any], text: bytes, path: Path, number: int) -> Row:
    try:
        row = decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "Each line must be one JSON object (JSONL)."
        if number == 1 and text[:1] == b"[":
            hint = "This looks like one JSON array; write each of its objects on a line of its own."
        raise InputError("A row is not JSON", f"{path}:{number}: {error}.", hint) from error
    except RecursionError as error:
        raise InputError("A row is nested too deeply", f"{path}:{number}.") from error
    if not isinstance(row, dict):
        raise InputError(
            "A row is not an object",
            f"{path}:{number}: expected {{...}} with named fields, found {type(row).__name__}.",
        )
    return row

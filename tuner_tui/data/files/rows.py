"""The rows of a data set in any file format, with errors that name file and line."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.data.files import table_rows
from tuner_tui.data.files.chunks import chunked
from tuner_tui.data.files.formats import BESIDE_ROWS, DOCUMENTS, format_by_name, format_of, is_data_name
from tuner_tui.data.files.json_rows import Numbered, Row, read_json, read_jsonl
from tuner_tui.data.files.opened import require_file, require_unchanged
from tuner_tui.data.files.pdf import read_pdf
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.files import entries
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEMO", "Found", "Row", "data_files", "each_row", "locate", "read_rows"]

DEMO = "demo"
"""Stands for the data set that is shipped with the demo."""
HUB_PREFIX = "hub:"
LARGEST_FOLDER = 100_000
LIBRARY_FILES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What the `datasets` library keeps beside rows."""
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "test": "test",
    "valid": "validation", "validation": "validation", "val": "validation", "dev": "validation",
    "eval": "validation", "evaluation": "validation",
}  # fmt: skip
DOCUMENT_SUFFIXES = (".md", ".markdown", ".pdf")
"""Of files whose names tell what they are about, and never a split."""
_WORD = re.compile(r"[a-z]+")


class Found(NamedTuple):
    """A row where it was found; or, in its place, what is wrong there."""

    file: Path
    number: int
    """Line of a text file (where the record begins or ends), else place in the file; from 1."""
    row: Row | InputError


def locate(name: str) -> Path:
    """The file or folder meant by the spec's data.train or data.evaluation. Raises NotFoundError or InputError."""
    if not name.strip():
        raise InputError("Which data file?", "No name was given.", "Name a file, or a folder of data files.")
    if name.startswith(HUB_PREFIX):
        from tuner_tui.data.files.hub import cached_folder

        return cached_folder(name.removeprefix(HUB_PREFIX))
    path = paths.shipped_dir("assets") / "demo" / "train.jsonl" if name == DEMO else Path(name)
    try:
        path = path.expanduser()
        if path.is_dir():
            data_files(path)
            return path
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError("The data file cannot be read", f"{name}: {str(error).rstrip('.')}.") from error
    require_file(path)
    return path


def data_files(path: Path, split: str | None = None) -> list[Path]:
    """The file itself, or the data files below a folder, sorted; those of a split where their names tell.

    Without a split, a folder whose names tell of splits gives its training files.
    Raises NotFoundError or InputError when there are none.
    """
    return _data_files(path, split)[0]


def _data_files(path: Path, split: str | None) -> tuple[list[Path], dict[str, str]]:
    """(the files that are read, how many files each other split has). Raises as `data_files` does."""
    if not path.is_dir():
        return [path], {}
    found = sorted(_below(path))
    if not found:
        raise NotFoundError(
            "The folder holds no data files",
            f"{path} has no JSONL, JSON, CSV, TSV, Parquet, Arrow, PDF or text files.",
            "Name a data file, or a folder of them.",
        )
    found, beside = _without_documents(found)
    split_names = {file: _saved_split(file, path) or _split_told(file.relative_to(path)) for file in found}
    names = sorted({name for name in split_names.values() if name})
    wanted = SPLIT_WORDS.get(split.lower(), split.lower()) if split else "train"
    if wanted in names:
        chosen = [file for file in found if split_names[file] == wanted]
        return chosen, beside | _others(split_names, wanted)
    if split is not None:
        raise InputError(
            "There is no such split",
            f"{path} has no files for {split!r}; by their names there are {', '.join(names) or 'no split'}.",
            "Set data.split to one of them, or leave it out.",
        )
    if unnamed := [file for file in found if split_names[file] is None]:
        return unnamed, beside | _others(split_names, None)
    return found, beside


def _without_documents(files: list[Path]) -> tuple[list[Path], dict[str, str]]:
    """The files, without PDF files that stand beside rows, and how many those are."""
    pdfs = [file for file in files if format_by_name(file) == "pdf"]
    if not pdfs or all(format_by_name(file) in DOCUMENTS for file in files):
        return files, {}
    rows = [file for file in files if file not in pdfs]
    return rows, {BESIDE_ROWS: counted(len(pdfs), "file")}


def _others(split_names: dict[Path, str | None], wanted: str | None) -> dict[str, str]:
    counts = Counter(
        name or "files without a split's name" for name in split_names.values() if name != wanted
    )
    return {name: counted(count, "file") for name, count in counts.items()}


def _below(folder: Path) -> Iterator[Path]:
    saved = _saved_files(folder)
    for entry in entries(folder, LARGEST_FOLDER):
        if entry.name.startswith((".", "_")) or entry.name in LIBRARY_FILES:
            continue
        if entry.is_dir():
            yield from _below(entry)
        elif is_data_name(entry) and (saved is None or entry.name in saved):
            yield entry


def _saved_files(folder: Path) -> set[str] | None:
    """The names of the rows' files in a folder of `Dataset.save_to_disk`, which also holds caches; else None."""
    if not (folder / "dataset_info.json").is_file():
        return None
    try:
        state = json.loads(guarded.read_bytes(folder / "state.json"))
        return {each["filename"] for each in state["_data_files"]}
    except (guarded.Unreadable, ValueError, RecursionError, KeyError, TypeError):
        return None


def _saved_split(file: Path, root: Path) -> str | None:
    """The split that a folder of `DatasetDict.save_to_disk` is called by, whatever the name."""
    folder = file.parent
    is_split = folder != root and (folder.parent / "dataset_dict.json").is_file()
    name = folder.name.lower()
    return SPLIT_WORDS.get(name, name) if is_split else None


def _split_told(relative: Path) -> str | None:
    """The split that a file's name, or the folder it stands in, tells of."""
    if relative.suffix.lower() in DOCUMENT_SUFFIXES:  # test-plan.md is a document of its own
        return None
    for part in reversed(relative.parts):
        for word in _WORD.findall(part.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return None


def each_row(
    path: Path,
    *,
    split: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    chunk_bytes: int | None = None,
    not_read: dict[str, str] | None = None,
) -> Iterator[Found]:
    """Every row of a file or of a folder's files, and in the place of a broken one what is wrong with it.

    Lazy: a file larger than memory works. `not_read` gets the other splits of a folder or a JSON file as they come up,
    and pages without text. `chunk_bytes` is how long rows of documents may be; each paragraph is a row without it.
    Raises InputError, naming file and line, where reading cannot continue: a file
    that is truncated, no text, not what its name says, or changes while it is read.
    """
    count = 0
    files, others = _data_files(path, split)
    if not_read is not None:
        not_read.update(others)
    for file in files:
        before = require_file(file)
        number = 0
        is_alone = file == path
        try:
            for number, row in _rows_of(file, encoding, split if is_alone else None, chunk_bytes, not_read):
                if isinstance(row, InputError):
                    require_unchanged(file, before, number)
                yield Found(file, number, row)
                count += 1
                if count == limit:
                    return
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise InputError(
                "The data file cannot be read", f"{file}:{number + 1}: {error.strerror or error}."
            ) from error
        except OSError as error:
            problem_text = os.strerror(error.errno) if error.errno else str(error)
            raise InputError(
                "The data file cannot be read", f"{file}:{number + 1}: {problem_text}."
            ) from error
        require_unchanged(file, before, number)


def _rows_of(
    file: Path,
    encoding: str | None,
    split: str | None,
    chunk_bytes: int | None,
    not_read: dict[str, str] | None,
) -> Iterator[Numbered]:
    kind = format_of(file, encoding)
    if split is not None and kind != "json":
        raise InputError(
            "There is no such split",
            f"{file} is one file of rows, without splits.",
            "Leave data.split out.",
        )
    match kind:
        case "jsonl":
            return read_jsonl(file, encoding)
        case "json":
            return read_json(file, encoding, split, not_read)
        case "csv":
            return table_rows.read_csv(file, encoding)
        case "tsv":
            return table_rows.read_csv(file, encoding, delimiter="\t")
        case "parquet":
            return table_rows.read_parquet(file)
        case "arrow":
            return table_rows.read_arrow(file)
        case "text":
            rows, between = table_rows.read_text(file, encoding), table_rows.between_texts(file, encoding)
            return rows if chunk_bytes is None else chunked(rows, chunk_bytes, between)
        case "pdf":
            rows = read_pdf(file, not_read)
            return rows if chunk_bytes is None else chunked(rows, chunk_bytes)


def read_rows(
    path: Path, limit: int | None = None, not_read: dict[str, str] | None = None
) -> Iterator[tuple[int, Row]]:
    """Each row with its number. Raises InputError, naming file and line, on the first that is broken."""
    for _, number, row in each_row(path, limit=limit, not_read=not_read):
        if isinstance(row, InputError):
            raise row
        yield number, row

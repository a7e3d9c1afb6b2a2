"""The data files that a person can pick, and a first look into one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.config.methods.traits import DEFAULT_METHOD, method_traits
from tuner_tui.data.files.formats import DOCUMENTS, format_by_name, is_data_name
from tuner_tui.data.files.rows import DEMO, locate, read_rows
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.rows.for_method import AnyExample, OtherMethod, read_for
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import entries
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.config.spec import DataShape
    from tuner_tui.data.rows.types import Shape

LARGEST_FOLDER = 500
"""Entries of a folder that are looked at."""
MODEL_FILES = {"config.json", "adapter_config.json"}
"""A folder with one of these is a model's, and its JSON files are no data."""
OTHER_FILES = {"requirements.txt", "constraints.txt", "package.json", "package-lock.json", "tsconfig.json"}
SHOWN_ROWS = 3
CHECKED_ROWS = 20_000
"""Rows that are read before a run starts; the start itself reads them all."""


@dataclass(frozen=True)
class DataListing:
    """One data file in a list."""

    name: str
    """What data.train would say."""
    size_bytes: int | None
    remark: str = ""


@dataclass(frozen=True)
class DataLook:
    """A data file, read as a run would read it."""

    shape: Shape | None = None
    rows: int = 0
    is_partial: bool = False
    """Whether there are more rows than were read."""
    first_rows: tuple[AnyExample, ...] = ()
    problem: TunerError | None = None
    """What is wrong with it; names file and line."""
    left_out: tuple[str, ...] = ()
    """Lines about what cannot be read and is in none of the rows."""

    @property
    def is_for_other_method(self) -> bool:
        """Whether all that is wrong is the method: it can be picked, and a method for it afterwards."""
        return isinstance(self.problem, OtherMethod)


def list_data(folder: Path) -> list[DataListing]:
    """The demo's data, then the data files in a folder and one below it, by their relative paths."""
    demo = DataListing(
        DEMO,
        _size(paths.shipped_dir("assets") / "demo" / "train.jsonl"),
        "shipped: short chats with an octopus librarian",
    )
    return [
        demo,
        *(DataListing(str(path.relative_to(folder)), _size(path)) for path in sorted(_files(folder))),
    ]


def list_documents(folder: Path) -> list[DataListing]:
    """What holds text, Markdown and PDF files: the folder and those below it, then the files, by relative paths."""
    below = [
        entry
        for entry in entries(folder, LARGEST_FOLDER)
        if entry.is_dir() and not entry.name.startswith(".")
    ]
    folders: list[DataListing] = []
    files: list[DataListing] = []
    for place in (folder, *sorted(below)):
        inside = [
            entry
            for entry in sorted(entries(place, LARGEST_FOLDER))
            if format_by_name(entry) in DOCUMENTS and entry.name not in OTHER_FILES and entry.is_file()
        ]
        if len(inside) > 1:
            words = f"{counted(len(inside), 'document')} in {'this' if place == folder else 'that'} folder"
            folders.append(
                DataListing(f"./{place.relative_to(folder)}" if place != folder else ".", None, words)
            )
        files += [DataListing(str(entry.relative_to(folder)), _size(entry)) for entry in inside]
    return [*folders, *files]


def look_at_data(
    name: str, asked: DataShape = "auto", limit: int | None = None, method: MethodKind = DEFAULT_METHOD
) -> DataLook:
    """Read a data file as a method would: its shape, rows and first rows, or what is wrong with it."""
    try:
        reading = Reading(locate(name), asked, limit)
    except TunerError as error:
        return DataLook(problem=error)
    except OSError as error:  # a name that no file can have
        return DataLook(problem=InputError("The data file cannot be read", f"{name}: {error.strerror}."))
    return look_at_reading(reading, method)


def look_at_reading(reading: Reading, method: MethodKind) -> DataLook:
    """Read a data set as a spec has it read: mapped, fixed and mixed."""
    first: tuple[AnyExample, ...] = ()
    shape: Shape | None = None
    limit = reading.limit
    try:
        shape, examples = _first_rows(method, replace(reading, limit=min(limit or SHOWN_ROWS, SHOWN_ROWS)))
        first = tuple(examples[:SHOWN_ROWS])
        most = min(limit or CHECKED_ROWS, CHECKED_ROWS)
        shape, examples = read_for(method, replace(reading, limit=most))
        is_partial = limit is None and len(examples) >= most and _has_more(reading.path, most)
    except OtherMethod as error:
        return DataLook(error.shape, problem=error)
    except TunerError as error:
        return DataLook(shape, len(first), False, first, error)
    except OSError as error:
        return DataLook(problem=InputError("The data file cannot be read", f"{reading}: {error.strerror}."))
    return DataLook(shape, len(examples), is_partial, first)


def _first_rows(method: MethodKind, reading: Reading) -> tuple[Shape, list[AnyExample]]:
    """A few rows; where these are not enough, such as unpaired preferences all good, more are read at once."""
    try:
        return read_for(method, reading)
    except OtherMethod:
        raise
    except InputError:
        if method_traits(method).rows == "examples":  # each row stands for itself
            raise
        return read_for(method, replace(reading, limit=CHECKED_ROWS))


def _has_more(path: Path, count: int) -> bool:
    try:
        return sum(1 for _ in read_rows(path, count + 1)) > count
    except TunerError:  # a broken row beyond those that are looked at: the start will tell
        return True


def _files(folder: Path) -> Iterator[Path]:
    for entry in entries(folder, LARGEST_FOLDER):
        if _is_data(entry):
            yield entry
        elif entry.is_dir() and not entry.name.startswith("."):
            below = list(entries(entry, LARGEST_FOLDER))
            if not MODEL_FILES & {each.name for each in below}:
                yield from filter(_is_data, below)


def _is_data(path: Path) -> bool:
    """Whether a file is offered; every kind can be named, also notes and what belongs to programs."""
    is_offered = is_data_name(path) and path.suffix.lower() != ".md" and path.name not in OTHER_FILES
    return is_offered and path.is_file()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

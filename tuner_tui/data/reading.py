"""From a data set to rows in plain form: recognised or mapped, mended by the spec's recorded steps, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.data.columns import Columns
from tuner_tui.data.fixes import Fixer
from tuner_tui.data.layouts import SURE_ENOUGH, Layout, layouts_of
from tuner_tui.data.mapping import mapped_layout, parse_mapping
from tuner_tui.data.read import Found, each_row, locate
from tuner_tui.data.turns import RowFault
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.config.spec import DataShape, DataSpec
    from tuner_tui.data.json_rows import Row

SAMPLE_ROWS = 50
"""Rows that the shape is told by."""
SHAPES_HELP = (
    "Rows need `messages`; `instruction`/`question` with `output`/`answer`; `prompt` with `completion`; `text`; "
    "`chosen` and `rejected`; `completion` with `label`; or `prompt`. Map other columns with data.mapping."
)


@dataclass(frozen=True)
class Reading:
    """A data set, and how its rows are read."""

    path: Path
    asked: DataShape = "auto"
    limit: int | None = None
    split: str | None = None
    encoding: str | None = None
    mapping: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.path)


@dataclass
class PlainRows:
    """The rows of a data set in their shape's plain form; iterate once."""

    layout: Layout
    rows: Iterator[Found]
    """A row in plain form, or what is wrong with it."""
    fixer: Fixer = field(default_factory=lambda: Fixer(()))

    def strict(self) -> Iterator[tuple[Path, int, Row]]:
        """The rows; raises InputError on the first that is broken."""
        for file, number, row in self.rows:
            if isinstance(row, InputError):
                raise row
            yield file, number, row


def training_reading(data: DataSpec) -> Reading:
    """How the spec has its training rows read. Raises as `locate` does."""
    return Reading(
        locate(data.train), data.shape, data.limit, data.split, data.encoding, data.mapping, data.fixes
    )


def evaluation_reading(data: DataSpec) -> Reading | None:
    """How the spec has its evaluation rows read: like the training rows; None when there is no such file."""
    if data.evaluation is None:
        return None
    return Reading(locate(data.evaluation), data.shape, None, None, data.encoding, data.mapping, data.fixes)


def raw_rows(reading: Reading) -> Iterator[Found]:
    """The rows as they are kept. Raises InputError where reading cannot go on."""
    return each_row(reading.path, split=reading.split, encoding=reading.encoding, limit=reading.limit)


def plain_rows(reading: Reading, *, mended: bool = True) -> PlainRows:
    """Recognise or map, convert and mend. Raises InputError, naming file and line, for no rows and unknown columns."""
    rows = raw_rows(reading)
    head = list(itertools.islice(rows, SAMPLE_ROWS))
    layout = layout_of(head, reading)
    converted = (_converted(found, layout) for found in itertools.chain(head, rows))
    fixer = Fixer(reading.fixes if mended else ())
    return PlainRows(layout, fixer.mend(converted), fixer)


def layout_of(head: list[Found], reading: Reading) -> Layout:
    """The layout of a data set by its first rows. Raises InputError."""
    good = [found for found in head if not isinstance(found.row, InputError)]
    if not good:
        for found in head:
            if isinstance(found.row, InputError):
                raise found.row
        raise InputError("The data file is empty", f"{reading.path} holds no rows.", SHAPES_HELP)
    columns = Columns(tuple(found.row for found in good if isinstance(found.row, dict)))
    if reading.mapping:
        layout = mapped_layout(parse_mapping(reading.mapping), columns)
        if reading.asked not in ("auto", layout.shape):
            raise InputError(
                "Mapping and shape do not agree",
                f"data.mapping makes {layout.shape}, and data.shape is {reading.asked}.",
                'Set data.shape = "auto", or map other parts.',
            )
        return layout
    candidates = layouts_of(columns)
    if reading.asked != "auto":
        fitting = [each for each in candidates if each.shape == reading.asked]
    else:
        fitting = [each for each in candidates if each.confidence >= SURE_ENOUGH]
    if not fitting:
        raise wrong_columns(good[0], columns, reading.asked)
    return fitting[0]


def wrong_columns(found: Found, columns: Columns, asked: str = "auto") -> InputError:
    """The error for columns that make no shape, or not the one that was asked for."""
    names = ", ".join(columns.names[:8]) or "none"
    wanted = "" if asked == "auto" else f", which are not those of {asked}"
    return InputError(
        "The columns are not known",
        f"{found.file}:{found.number}: the row's fields are: {names}{wanted}.",
        SHAPES_HELP,
    )


def _converted(found: Found, layout: Layout) -> Found:
    file, number, row = found
    if isinstance(row, InputError):
        return found
    try:
        return Found(file, number, layout.convert(row))
    except RowFault as fault:
        error = InputError(fault.title, f"{file}:{number}: {fault.message}", fault.hint)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
        error = InputError(
            "A row is not like the others", f"{file}:{number}: it does not fit {layout.variant}."
        )
    return Found(file, number, error)

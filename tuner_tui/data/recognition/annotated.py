"""The rows of a data set with every verdict that they hold, for collections of annotations: ties and votes included."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.data.recognition.choices import answers_alone
from tuner_tui.data.recognition.columns import Columns
from tuner_tui.data.recognition.layout import Layout
from tuner_tui.data.recognition.reading import SAMPLE_ROWS, layout_of, raw_rows, read_row
from tuner_tui.data.recognition.verdict_names import JUDGING
from tuner_tui.data.rows.content import FINISHED
from tuner_tui.data.rows.unused import UnusedFields
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.files.rows import Found
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.data.rows.comparison import Comparison

NOTES = {
    "id", "uid", "uuid", "guid", "idx", "index", "hash", "source", "origin", "dataset", "split", "subset", "category",
    "categories", "topic", "topics", "tag", "tags", "language", "lang", "locale", "country", "domain", "task", "type",
    "level", "difficulty", "url", "link", "date", "time", "timestamp", "tstamp", "created", "updated", "inserted",
    "year",
    "license", "licence", "author", "metadata", "meta", "version", "seed", "turn", "status", "file", "filename", "path",
    "page", "number", "row", "line", "model", "models", "generator", "config", "name", "title", "anony", "item", "user",
    "annotator", "worker", "participant", "kind", "proposed", "finished", "format", "length", "tokens",
}  # fmt: skip
"""The last word of a field's name that only describes a row."""
KEPT = (*FINISHED, "completion_model", "chosen_model", "rejected_model")
"""What is said of an answer besides, and taken with a row in plain form."""
OWN_NOTES = ("rater", "strength")
"""Fields of our own exports."""
ID_ENDS = ("at", "id", "ids", "count", "hash", "date", "time", "url")


class Annotated(NamedTuple):
    """A row where it was found: in plain form, as a comparison, or what is wrong with it."""

    file: Path
    number: int
    row: Row | Comparison | InputError


def annotated_rows(reading: Reading, unused: UnusedFields) -> tuple[Layout, Iterator[Annotated]]:
    """How rows are recognised, and each with its verdicts. Raises InputError where they are not.

    Answers without a verdict are a comparison without votes, where no other field could hold one.
    """
    rows = raw_rows(reading, unused.not_read)
    head = list(itertools.islice(rows, SAMPLE_ROWS))
    layout = _layout(head, reading)
    used = {*layout.used, *KEPT}

    def read(row: Row) -> Row | Comparison:
        made: Row | Comparison = unused.reading(row, used, layout.compare or layout.convert)
        return made | {name: row[name] for name in KEPT if name in row} if isinstance(made, dict) else made

    return layout, (
        Annotated(found.file, found.number, read_row(found, layout.variant, read))
        for found in itertools.chain(head, rows)
    )


def _layout(head: list[Found], reading: Reading) -> Layout:
    try:
        return layout_of(head, reading)
    except InputError:
        columns = Columns(tuple(found.row for found in head if isinstance(found.row, dict)))
        alone = None if reading.mapping else answers_alone(columns)
        if alone is None or any(
            (not is_note(name) or name == "strength") and columns.kinds[name] != "empty"
            for name in columns.names
            if name not in alone.used
        ):
            raise
        return alone


def is_note(name: str) -> bool:
    """Whether a field only describes its row, by its name, such as source or created_at."""
    words = name.lower().replace("-", "_").replace(".", "_").replace(" ", "_").strip("_").split("_")
    if {*words} & JUDGING:
        return False
    return (
        name in OWN_NOTES
        or words[-1] in NOTES
        or words[0] in ("metadata", "meta")
        or (len(words) > 1 and words[-1] in ID_ENDS)
    )

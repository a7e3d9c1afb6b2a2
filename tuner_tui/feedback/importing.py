"""Imports rows of files: annotated ones (pairs, unpaired, ranked, exports of tools), answers to annotate, prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner_tui.data.files.rows import locate, read_rows
from tuner_tui.data.recognition.annotated import annotated_rows, is_note
from tuner_tui.data.recognition.choices import WITHOUT_VERDICT
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.recognition.verdict_names import may_hold_verdict
from tuner_tui.data.rows.comparison import Comparison
from tuner_tui.data.rows.faults import LeftOut
from tuner_tui.data.rows.unused import UnusedFields, field_name, not_read_words
from tuner_tui.errors import InputError
from tuner_tui.feedback.import_rows import (
    PROMPT_FIELDS,
    SHAPES_HELP,
    ImportedRow,
    NotForCollections,
    Unfit,
    fields_beyond,
    has_thoughts,
    is_own_form,
    row_of,
    row_of_comparison,
    row_of_turns,
)
from tuner_tui.feedback.saved_rows import ImportReport, keep_rows
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.data.recognition.formats import Layout
    from tuner_tui.feedback.store import Store

MOST_NAMED = 5


@dataclass
class ImportedFile:
    """The rows of a file, how they were read, and what was left out of it."""

    rows: list[ImportedRow]
    reason: str = ""
    """Why they were recognised, in words; empty for our own forms."""
    left_out: dict[str, list[int]] = field(default_factory=dict)
    """The lines of rows that are not imported, by reason."""
    unused: tuple[str, ...] = ()
    """Fields that nobody takes."""
    not_read: dict[str, str] = field(default_factory=dict)
    """Other splits of the file or folder, by name, and how much they hold."""
    dropped_answers: int = 0
    """Rows of which only the prompt was wanted, and which had an answer."""
    dropped_thoughts: int = 0
    """Rows with thoughts beside their texts, which a collection does not keep."""

    def lines(self) -> list[str]:
        """What to tell of it, besides the counts."""
        lines = [f"Read as: {self.reason}."] if self.reason else []
        for reason, numbers in self.left_out.items():
            more = ", ..." if len(numbers) > MOST_NAMED else ""
            rows = f"{len(numbers)} rows are" if len(numbers) > 1 else "1 row is"
            lines.append(f"{rows} left out, {reason}: row {', '.join(map(str, numbers[:MOST_NAMED]))}{more}.")
        if any(reason in UNFIT for reason in self.left_out):
            lines.append(
                "A collection has one prompt and a text per answer; train on such rows from the file: data.train."
            )
        if self.dropped_thoughts:
            lines.append(
                f"Reasoning in {self.dropped_thoughts} rows is not kept; a collection stores answers only."
            )
        if self.dropped_answers:
            lines.append(
                f"The answers of {counted(self.dropped_answers, 'row')} are not taken, only their prompts."
            )
        if self.unused:
            lines.append(f"Fields not used: {', '.join(map(field_name, self.unused))}.")
        if self.not_read:
            lines.append(not_read_words(self.not_read))
        return lines


UNFIT: tuple[Unfit, ...] = ("dialogues that differ before the last answer", "with tool calls")


def import_file(store: Store, name: str, mapping: tuple[str, ...] = ()) -> ImportReport:
    """Import all rows of a file, all or none. Raises InputError that names file, line and field.

    Rows that are there already are skipped.
    """
    path = locate(name)
    return keep_rows(store, read_import(path, mapping).rows, annotator=f"file:{path.name}")


def read_import(path: Path, mapping: tuple[str, ...] = (), *, prompts_only: bool = False) -> ImportedFile:
    """All rows of a file. Raises InputError, also for an empty file, and for fields that are not understood.

    Rows are read by our own forms where the first one has such, else as they are recognised. With `prompts_only` an
    answer that is neither compared nor rated is left out.
    """
    imported = None if mapping or path.is_dir() else _own_rows(path)
    if imported is None:
        imported = _recognised(path, mapping)
    if not imported.rows:
        raise _nothing(path, imported)
    if prompts_only:
        rows = [row.without_answers for row in imported.rows]
        imported.dropped_answers = sum(row != other for row, other in zip(rows, imported.rows, strict=True))
        imported.rows = rows
    return imported


def _nothing(path: Path, imported: ImportedFile) -> InputError:
    if not imported.left_out:
        return InputError("The data file is empty", f"{path} has no rows.", SHAPES_HELP)
    return InputError(
        "Nothing can be imported",
        f"{path}: "
        + "; ".join(f"{len(numbers)} rows {reason}" for reason, numbers in imported.left_out.items())
        + ".",
        "Train on the file itself: data.train names it.",
    )


def _own_rows(path: Path) -> ImportedFile | None:
    """The rows where they are of our own forms, which may be mixed; None where the first is not."""
    imported = ImportedFile([])
    for number, row in read_rows(path, not_read=imported.not_read):
        is_first = not imported.rows and not imported.left_out
        if not is_own_form(row):
            if is_first:
                return None
            beyond = fields_beyond(row, PROMPT_FIELDS)
            if any(row.get(name) is not None for name in PROMPT_FIELDS) and beyond:
                raise _not_understood(f"{path}:{number}", beyond)
        try:
            imported.rows.append(row_of(row, path, number))
            imported.dropped_thoughts += has_thoughts(row)
        except NotForCollections as error:
            imported.left_out.setdefault(error.reason, []).append(number)
        except InputError:
            if is_first and _is_recognised(path):
                return None
            raise
    return imported


def _is_recognised(path: Path) -> bool:
    """Whether a file's rows are recognised as annotated, and the first one can be read so."""
    try:
        layout, rows = annotated_rows(Reading(path), UnusedFields())
    except InputError:
        return False
    first = next(rows, None)
    return layout.shape in ("preference", "rated") and first is not None and not _is_broken(first.row)


def _is_broken(row: object) -> bool:
    return isinstance(row, InputError) and not isinstance(row, LeftOut)


def _recognised(path: Path, mapping: tuple[str, ...]) -> ImportedFile:
    """A file's rows as they are recognised. Raises InputError."""
    unused = UnusedFields()
    layout, found_rows = annotated_rows(Reading(path, mapping=mapping), unused)
    if layout.shape == "text":
        raise InputError("Rows hold no prompt", f"{path}: {layout.reason}.", SHAPES_HELP)
    imported = ImportedFile([], "" if layout.shape == "prompts" else layout.reason)
    read = _reader(layout)
    is_judged = layout.shape in ("preference", "rated") and layout.variant != WITHOUT_VERDICT
    for file, number, row in found_rows:
        if isinstance(row, LeftOut):
            imported.left_out.setdefault(row.reason, []).append(number)
            continue
        if isinstance(row, InputError):
            raise row
        try:
            imported.rows.append(read(row, file, number))
            imported.dropped_thoughts += has_thoughts(row)
        except NotForCollections as error:
            imported.left_out.setdefault(error.reason, []).append(number)
        beyond = [name for name in unused.names if _may_be_lost(name)]
        if beyond and not is_judged and not mapping:
            raise _not_understood(f"{file}:{number}", beyond)
    imported.unused, imported.not_read = unused.names, unused.not_read
    return imported


def _may_be_lost(name: str) -> bool:
    """Whether a field that nobody takes may hold an answer or a verdict; of what stands in others, by its name."""
    if "[" not in name:
        return not is_note(name)
    return name.endswith("[1:]") or may_hold_verdict(name)


def _reader(layout: Layout) -> Callable[[object, Path, int], ImportedRow]:
    def read(row: object, file: Path, number: int) -> ImportedRow:
        if isinstance(row, Comparison):
            return row_of_comparison(row, file, number)
        assert isinstance(row, dict)
        return row_of_turns(row["messages"], file, number) if "messages" in row else row_of(row, file, number)

    return read


def _not_understood(where: str, fields: list[str]) -> InputError:
    return InputError(
        "Fields are not understood",
        f"{where}: {', '.join(f'`{name}`' for name in fields[:8])} may hold answers or verdicts, which would be lost.",
        "Say what they are: feedback import NAME FILE --map 'verdict = {FIELD}'; or take the prompts alone: --map "
        "'prompt = {FIELD}'. " + SHAPES_HELP,
    )

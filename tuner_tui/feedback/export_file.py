"""Exports a collection to a file in TRL's formats, with a data card beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from tuner_tui.errors import InputError
from tuner_tui.feedback.card import data_card
from tuner_tui.feedback.checking import left_out_lines
from tuner_tui.feedback.collections import open_collection
from tuner_tui.feedback.exporting import (
    Filters,
    Kind,
    available_kind,
    card_path,
    export_rows,
    nothing_to_export,
    split_by_prompt,
    write_rows,
)
from tuner_tui.text import counted, plain

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".jsonl", ".parquet")


class FileReport(NamedTuple):
    """What was written."""

    kind: Kind
    out: Path
    rows: int
    held_out: int
    unfinished: int
    """Rows with a truncated answer."""
    left_out: tuple[str, ...]
    """What of the collection cannot be read, in words."""

    @property
    def lines(self) -> list[str]:
        """The files in words."""
        lines = [f"{counted(self.rows, 'row')} ({self.kind}): {plain(str(self.out))}"]
        if self.held_out:
            path = held_out_path(self.out)
            lines.append(f"{counted(self.held_out, 'row')} held out by prompt: {plain(str(path))}")
        if self.unfinished:
            truncated = counted(self.unfinished, "row has", "rows have")
            lines.append(f"{truncated} a truncated answer; --finished leaves such rows out.")
        return [*lines, f"card: {plain(str(card_path(self.out)))}"]


def held_out_path(out: Path) -> Path:
    """The second file of a split export."""
    return out.with_name(f"{out.stem}-evaluation{out.suffix}")


def export_collection(
    name: str,
    out: Path,
    kind: Kind | Literal["auto"] = "auto",
    filters: Filters | None = None,
    *,
    is_text: bool = False,
    split: float = 0.0,
    may_replace: bool = False,
) -> FileReport:
    """Write a collection's rows of one kind, by default of the kind that it has.

    Raises InputError for another file type, an existing file and a collection without such rows, and TunerError.
    """
    filters = filters or Filters()
    if out.suffix not in SUFFIXES:
        raise InputError("Unsupported file type", f"{out}: expected a name that ends in .jsonl or .parquet.")
    for path in (out, held_out_path(out)) if split else (out,):
        if path.exists() and not may_replace:
            raise InputError("The file exists", str(path), "Add --force to overwrite it.")
    with open_collection(name) as store:
        wanted = available_kind(store, filters) if kind == "auto" else kind
        rows = export_rows(store, wanted, filters, is_text=is_text)
        if not rows:
            raise nothing_to_export(store, f"of the kind {wanted}")
        train, held_out = split_by_prompt(rows, split)
        write_rows(train, out, data_card(store, wanted, train, filters))
        if held_out:
            write_rows(held_out, held_out_path(out), data_card(store, wanted, held_out, filters))
        problems = store.contents().problems
    return FileReport(
        wanted,
        out,
        len(train),
        len(held_out),
        sum(row.is_unfinished for row in rows),
        tuple(left_out_lines(name, problems)),
    )

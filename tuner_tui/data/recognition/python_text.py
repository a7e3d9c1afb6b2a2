"""Answers that are Python text, as pandas and `str()` write lists and objects: refused, or named where they are few."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.mapping import mapping_lines
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.written import as_json, as_object

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.layout import Layout

SIDES = ("completion", "chosen", "rejected", "text", "prompt")


def is_python(text: Any) -> bool:
    """Whether a text is a Python list or object as a whole, with a text in it, and no JSON."""
    if not isinstance(text, str) or not text.lstrip().startswith(("[", "{", "array(")):
        return False
    if as_json(text) is not None:
        return False
    written = as_object(text)
    return isinstance(written, list | dict) and bool(written)


def python_part(row: Row) -> str | None:
    """Which part of a row in plain form is such text: its answers, or a prompt that stands as it is."""
    for turn in row.get("messages") or ():
        if turn["role"] == "assistant" and turn.get("weight") != 0 and is_python(turn["content"]):
            return "assistant"
    for side in SIDES:
        value = row.get(side)
        if isinstance(value, list):
            if side != "prompt" and any(is_python(turn["content"]) for turn in value):
                return side
        elif is_python(value):
            return side
    return None


def is_mostly_python(rows: Iterable[Row]) -> bool:
    """Whether a column was written by pandas or `str()`: at least half of some rows have such text."""
    written = [python_part(row) is not None for row in rows]
    return bool(written) and 2 * sum(written) >= len(written)


def python_fault(layout: Layout, part: str) -> RowFault:
    """Why a row of such text is not trained, and what to do."""
    where = layout.mapping.get(part, f"{{{part}}}").strip("{}")
    if part not in layout.mapping and "messages" in layout.mapping:
        where = layout.mapping["messages"].strip("{}")
    of = "an answer in " if part not in layout.mapping else ""
    lines = " ".join(f"--map '{line}'" for line in mapping_lines(layout.mapping))
    return RowFault(
        "A field is a Python list or object, written as text",
        f"{of}`{where}` is text as Python's str() writes it, as in at least half of the first rows.",
        f"Write the text itself, a list, or JSON; or, to train on it as it stands, {lines} (in run.toml: "
        "data.mapping).",
    )

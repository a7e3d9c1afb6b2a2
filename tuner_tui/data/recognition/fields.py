"""Reading one field of a row: as text, as turns, or as a side, which is either; alike for every dataset type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.turns import turns_of
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import as_object, looks_like_turns, written_turns

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

MISSING_WORDS = ("nan", "none", "null", "<na>", "n/a", "<noinput>")
"""What other programs write into an optional column for nothing."""
TEXT_KEYS = ("text", "content", "response", "value", "answer", "completion", "output")
"""Where an object that stands for an answer has its text."""


def text_of(row: Row, name: str) -> str:
    """A field that must be text. Raises RowFault, also for a list of turns that is written as text."""
    value = row.get(name)
    if isinstance(value, str):
        if looks_like_turns(value):
            raise RowFault(
                "A field holds turns, not text",
                f"`{name}` is a list of turns, written as text.",
                f'Name the column `messages`, or map it: data.mapping = ["messages = {{{name}}}"].',
            )
        return value
    if name not in row:
        raise RowFault("A field is missing", f"The row has no field `{name}`.")
    kind = "empty (null)" if value is None else f"of type {type(value).__name__}"
    raise RowFault("A field is not text", f"`{name}` must be text, but it is {kind}.")


def said_of(row: Row, name: str) -> str:
    """A question's or an answer's text; a number is what it says. Raises RowFault."""
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    return text_of(row, name)


def optional_text(row: Row, name: str | None) -> str:
    """A field that may say nothing; empty where it does. Raises RowFault for what is no text."""
    return "" if name is None or is_missing(row.get(name)) else said_of(row, name)


def is_missing(value: Any) -> bool:
    """Whether a value of an optional column says nothing, also in the words of other programs."""
    if isinstance(value, str):
        return not value.strip() or value.strip().lower() in MISSING_WORDS
    return value in (None, [], {}) or (isinstance(value, float) and math.isnan(value))


def with_context(field_text: str, row: Row, context: str | None) -> str:
    """A question with what it is about below it, where the row has that. Raises RowFault."""
    extra = optional_text(row, context)
    return f"{field_text}\n\n{extra}" if extra else field_text


def answer_of(row: Row, name: str) -> str:
    """An answer's text; also the first of several, and SQuAD's `answers`. Raises RowFault."""
    value = row.get(name)
    if isinstance(value, str) and value.lstrip().startswith("{") and "answer_start" in value:
        written = as_object(value)  # SQuAD's in a CSV file
        value = written if isinstance(written, dict) and "text" in written else value
    if isinstance(value, dict):
        key = next((each for each in ("text", "value", *TEXT_KEYS) if value.get(each) is not None), "text")
        _pass_over_others(value, (key,), name)
        value = value.get(key)
    if isinstance(value, list) and value and isinstance(value[0], str):
        if any(other != value[0] for other in value[1:]):
            pass_over(f"{name}[1:]")
        return value[0]
    return said_of({name: value} if name in row else row, name)


def side_of(row: Row, name: str) -> str | list[dict[str, Any]]:
    """A prompt or an answer: text, or turns, also where these are written as text. Raises RowFault."""
    value = row.get(name)
    if isinstance(value, dict) and not _speaks(value):
        key = next((each for each in ("messages", *TEXT_KEYS) if value.get(each) is not None), None)
        if key is None:
            raise RowFault("A field is not text", f"`{name}` has {', '.join(map(repr, value)) or 'nothing'}.")
        _pass_over_others(value, (key,), name)
        return side_of({name: value[key]}, name)
    if isinstance(value, list | dict):
        return turns_of(value, name)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "a", "{"):
        turns = written_turns(value)
        if turns is not None:
            return turns_of(turns, name)
        if looks_like_turns(value):
            raise RowFault(
                "Turns cannot be read",
                f"`{name}` begins like a list of turns, and is neither JSON nor Python of one.",
            )
    return said_of(row, name)


def earlier_turns(row: Row, history: str | None) -> list[dict[str, Any]]:
    """The turns before a question, of a column of turns, or of pairs of texts as in Alpaca's `history`; also as JSON.

    Raises RowFault.
    """
    earlier = row.get(history) if history else None
    if history is None or is_missing(earlier):
        return []
    pairs = as_object(earlier) if isinstance(earlier, str) else earlier
    if pairs == []:
        return []
    if isinstance(pairs, list) and all(isinstance(pair, list) for pair in pairs):
        return [turn for pair in pairs for turn in turns_of(pair, history)]
    return turns_of(earlier, history)


def as_turns(side: str | list[dict[str, Any]], role: str) -> list[dict[str, Any]]:
    """A side as turns; text is what the role says."""
    return [{"role": role, "content": side}] if isinstance(side, str) else side


def _speaks(value: dict[str, Any]) -> bool:
    return any(isinstance(value.get(key), str) for key in ("role", "from", "speaker"))


def _pass_over_others(value: dict[str, Any], used: tuple[str, ...], name: str) -> None:
    for key, each in value.items():
        if key not in used and each not in (None, "", [], {}):
            pass_over(f"{name}.{key}")

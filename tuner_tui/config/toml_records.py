"""Reads a TOML file of records into typed values; what is wrong with it is named by file and key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tuner_tui import guarded
from tuner_tui.errors import InputError
from tuner_tui.text import plain

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
_PLACE = re.compile(r"^(?P<problem>.*?)(?: - at `(?:key in )?\$(?P<place>.*)`)?$", re.DOTALL)
_PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_EXPECTED = {
    "`str`": "text",
    "`int`": "a whole number",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
    "`float`": "a number",
    "`date`": "a date such as 2026-01-31",
    "`null`": "nothing",
}


def read_records(path: Path, kind: type[T], title: str) -> T:
    """The file's content. Raises InputError with `title` for a file that cannot be read, is no TOML, or has a key that
    is missing, unknown or of another type.
    """
    import tomllib

    try:
        text = guarded.read_text(path)
    except guarded.Unreadable as error:
        raise InputError(title, f"{plain(str(path))}: {error.problem}.", error.hint) from None
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        from tuner_tui.config.toml_lines import toml_problem

        line, problem = (
            toml_problem(text, error) if isinstance(error, tomllib.TOMLDecodeError) else (None, "")
        )
        place = f", line {line}" if line else ""
        problem = problem or "it is not TOML"
        raise InputError(
            title, plain(f"{path}{place}: {problem}."), "Fix it there, or remove the file."
        ) from None
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise bad_record(path, title, *_explained(str(error), content)) from None


def bad_record(path: Path, title: str, key: str, problem: str) -> InputError:
    """The error for one key of a file of records."""
    where = f", {key}" if key else ""
    return InputError(title, plain(f"{path}{where}: {problem}."), "Fix it there, or remove the file.")


def _explained(message: str, content: Any) -> tuple[str, str]:
    """msgspec's message as (key, problem): `model 3 (Qwen/Qwen3-4B), context`, `expected a whole number, got text`."""
    match = _PLACE.match(message)
    problem, place = (match["problem"], match["place"] or "") if match else (message, "")
    if problem.startswith("Object "):
        problem = problem.replace("Object missing required field", "it lacks the key")
        problem = problem.replace("Object contains unknown field", "it has the unknown key").replace("`", "")
    for word, plainer in _EXPECTED.items():
        problem = problem.replace(word, plainer)
    parts: list[str] = []
    value = content
    for name, index in _PART.findall(place):
        if index.isdigit() and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
            own = value.get("name") if isinstance(value, dict) else None
            number = f"{parts.pop() if parts else ''} {int(index) + 1}".strip()
            parts.append(f"{number} ({own})" if isinstance(own, str) else number)
        elif name:
            value = value.get(name) if isinstance(value, dict) else None
            parts.append(name)
    return ", ".join(parts), problem[:1].lower() + problem[1:]

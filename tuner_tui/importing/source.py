"""A file of settings, YAML or JSON, and its values one by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.guarded import Unreadable
from tuner_tui.importing.yaml_text import DEEPEST, MOST_VALUES, BadText, Parsed, Place, parse_yaml
from tuner_tui.text import plain

LARGEST_BYTES = 1 << 20
"""A file of settings has a few kilobytes."""
LARGEST_STATE_BYTES = 16 << 20
"""trainer_state.json holds the losses of every logged step."""


@dataclass(frozen=True)
class Source:
    """The settings of one file."""

    path: Path
    values: dict[str, Any]
    lines: dict[Place, int]

    @property
    def name(self) -> str:
        return self.path.name

    def line(self, place: Place) -> int | None:
        """The line of a value, or of the nearest key above it."""
        return next(
            (self.lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in self.lines), None
        )


def read_source(path: Path, largest_bytes: int = LARGEST_BYTES) -> Source:
    """A YAML or JSON file as settings. Raises InputError with file, line and key; NotFoundError if it is missing."""
    try:
        text = guarded.read_text(path, largest_bytes)
    except Unreadable as error:
        if error.is_missing:
            raise NotFoundError("No such file", plain(str(path))) from None
        raise
    name = plain(path.name)
    try:
        if "\0" in text:
            raise BadText("it has NUL bytes, so it is not a text file")
        parsed = _parse_json(text) if _is_json(path, text) else parse_yaml(text)
    except BadText as error:
        where = f"{name}:{error.line}" if error.line else name
        message = ": ".join(part for part in (where, error.key, error.reason) if part)
        raise InputError("The settings cannot be read", f"{message}.", error.hint) from None
    except RecursionError:
        raise InputError("The settings cannot be read", f"{name}: {guarded.NESTED_TOO_DEEPLY}.") from None
    if not isinstance(parsed.values, dict) or not parsed.values:
        held = {list: "a list", str: "text", dict: "no keys", type(None): "nothing"}
        raise InputError(
            "No settings in the file",
            f"{name}: expected keys with values, and it has {held.get(type(parsed.values), 'one value')}.",
        )
    return Source(path, parsed.values, parsed.lines)


def leaves(values: Any, whole: Collection[str] = (), place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Each value with its place: scalars, lists of scalars, and empty tables; keys in `whole` are not taken apart."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            if not place and key in whole:
                yield (key,), value
            else:
                yield from leaves(value, whole, (*place, key))
    elif isinstance(values, list) and any(isinstance(item, (dict, list)) for item in values):
        for number, item in enumerate(values):
            yield from leaves(item, whole, (*place, number))
    else:
        yield place, values


def shown(place: Place) -> str:
    """A place as text, such as datasets[0].path."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return plain(text)


def _is_json(path: Path, text: str) -> bool:
    return path.suffix.lower() == ".json" or (
        path.suffix.lower() not in (".yaml", ".yml") and text.lstrip()[:1] == "{"
    )


def _parse_json(text: str) -> Parsed:
    repeated: list[str] = []

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            repeated.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return made

    try:
        values = json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        raise BadText(f"not JSON: {error.msg}", error.lineno) from None
    except ValueError:
        raise BadText("it has a number with too many digits") from None
    if repeated:
        line = _last_line(text, repeated[0])
        raise BadText(
            "the key is given twice in one table", line, plain(repeated[0]), "Remove one of the two."
        )
    _require_limits(values)
    try:  # only for the lines: JSON with spaces for tabs is YAML, but for rare escapes
        lines = parse_yaml(text.replace("\t", " ")).lines
    except (BadText, RecursionError):
        lines = {}
    return Parsed(values, lines)


def _last_line(text: str, key: str) -> int | None:
    at = text.rfind(json.dumps(key, ensure_ascii=False))
    return None if at < 0 else text.count("\n", 0, at) + 1


def _require_limits(values: Any) -> None:
    level, count = [values], 0
    for _ in range(DEEPEST + 1):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        count += len(level)
        if not level:
            return
        if count > 50 * MOST_VALUES:
            raise BadText(f"it has more than {50 * MOST_VALUES:,} values")
    raise BadText(f"values are nested more than {DEEPEST} deep")

"""Values of other tools as values of our options: numbers and switches that YAML leaves as text."""

from __future__ import annotations

import re
from typing import Any, get_args

from tuner_tui.config.sections import kinds_of
from tuner_tui.config.spec import RunSpec

_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_LONGEST_NUMBER = 40
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def number(value: Any) -> int | float | None:
    """A number, also one written as text such as 1e-4, which YAML 1.1 takes for text; None for anything else."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value.strip()):
        text = value.strip().replace("_", "")
        value = float(text) if re.search(r"[.eE]", text) else int(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def plain_number(value: Any) -> Any:
    """A number, also of text; anything else as it is, for the spec's own check."""
    found = number(value)
    return value if found is None else found


def whole(value: Any, least: int = 1) -> int | None:
    """A whole number of at least `least`; None for anything else."""
    found = number(value)
    if found is None or abs(found) >= 2**53 or found != int(found) or found < least:
        return None
    return int(found)


def switch(value: Any) -> bool | None:
    """True or False, also in words; None for anything else."""
    if isinstance(value, bool):
        return value
    return _SWITCHES.get(value.strip().lower()) if isinstance(value, str) else None


def word(value: Any) -> str | None:
    """A value as a word to look up: lower case; of a list of one, its item. None for anything longer."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, (bool, str, int, float)) and len(str(value)) <= 200:
        return str(value).strip().lower()
    return None


def words(value: Any) -> list[str] | None:
    """A list of names, also one written with commas; None for anything else."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return [item.strip() for item in value if item.strip()]


def has_option(key: str, method: str, tuning: str) -> bool:
    """Whether a dotted key is an option of a spec with this method and tuning."""
    section, _, name = key.partition(".")
    if section not in RunSpec.model_fields or not name:
        return False
    kinds = kinds_of(section)
    kind = {"method": method, "tuning": tuning}.get(section, "")
    return kind in kinds and name in kinds[kind].model_fields


def default_of(key: str, method: str, tuning: str) -> Any:
    """The default of an option that exists."""
    section, _, name = key.partition(".")
    kind = {"method": method, "tuning": tuning}.get(section, "")
    return kinds_of(section)[kind].model_fields[name].default


def as_option(key: str, value: Any, method: str, tuning: str) -> Any:
    """A value with the type of an option that exists, where that is plain; else as it is, for the spec's own check."""
    section, _, name = key.partition(".")
    kind = {"method": method, "tuning": tuning}.get(section, "")
    types = _types(kinds_of(section)[kind].model_fields[name].annotation)
    if isinstance(value, str) and types & {int, float}:
        return value if (found := number(value)) is None else as_option(key, found, method, tuning)
    if isinstance(value, str) and bool in types:
        return value if (found := switch(value)) is None else found
    if isinstance(value, float) and int in types and float not in types and value.is_integer():
        return int(value)
    return value


def _types(annotation: Any) -> set[type]:
    if isinstance(annotation, type):
        return {annotation}
    found: set[type] = set()
    for argument in get_args(annotation):
        found |= (
            {type(argument)}
            if not hasattr(argument, "__origin__") and not isinstance(argument, type)
            else set()
        )
        found |= _types(argument)
    return found

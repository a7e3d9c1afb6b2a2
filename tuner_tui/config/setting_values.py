"""Values of settings: checked as they are in the file, read from text, and as text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tuner_tui.config.setting_list import Setting, Value
from tuner_tui.errors import InputError


def parse_value(setting: Setting, text: str) -> Value:
    """Parse a text as the setting's value; empty is None. Raises InputError."""
    typed = text.strip()
    if not typed:
        return None
    given: Any = typed
    match setting.kind:
        case "switch":
            words = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
            given = words.get(typed.lower(), typed)
        case "number":
            try:
                given = float(typed)
            except ValueError:
                given = typed
        case "words":
            given = [word.strip().strip("\"'") for word in typed.strip("[]").split(",") if word.strip()]
        case "folder":
            if typed[0] not in "/~":
                raise InputError(
                    f"Invalid value for {setting.key}",
                    f"It must be an absolute path (got {typed!r}; from the current folder that would be "
                    f"{Path(typed).absolute()}).",
                    setting.help,
                )
            given = _expanded(typed)
    problem, value = checked_value(setting, given)
    if problem:
        raise InputError(f"Invalid value for {setting.key}", f"It {problem}.", setting.help)
    return value


def value_text(value: Value) -> str:
    """A value as text for input; empty for None."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:.12g}"
        case tuple():
            return ", ".join(value)
    return value


def checked_value(setting: Setting, given: Any) -> tuple[str, Value]:
    """(problem, value): the problem is empty for a valid value."""
    got = f"(got {json.dumps(given, default=str, ensure_ascii=False)[:80]})"
    match setting.kind:
        case "switch":
            return ("", given) if isinstance(given, bool) else (f"must be true or false {got}", None)
        case "number":
            is_number = (
                isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
            )
            if not is_number or not setting.least <= given <= setting.most:
                bound = f" to {setting.most:g}" if setting.most < math.inf else " or more"
                return f"must be a number, {setting.least:g}{bound} {got}", None
            return "", float(given)
        case "words":
            if not isinstance(given, list) or not set(map(str, given)) <= set(setting.choices):
                return f"must be a list of {', '.join(setting.choices)} {got}", None
            return "", tuple(dict.fromkeys(given))
        case "choice" if given not in setting.choices:
            return f"must be one of {', '.join(setting.choices)} {got}", None
        case "folder":
            if not isinstance(given, str) or not given.startswith(("/", "~")):
                return f"must be an absolute path such as /mnt/big/tuner {got}", None
            from tuner_tui.files import can_be_path

            if not can_be_path(given):
                return f"must be a path that a folder can have {got}", None
            folder = _expanded(given)
            if not Path(folder).is_absolute():  # it would be another one in each current folder
                return (
                    f"must be an absolute path: the home folder of {folder.split('/')[0]} is not known",
                    None,
                )
            return "", folder
    if not isinstance(given, str) or "\0" in given:
        return f"must be text in quotes {got}", None
    return "", given


def _expanded(folder: str) -> str:
    try:
        return str(Path(folder).expanduser())
    except RuntimeError:  # "~name" of an unknown user
        return folder


def without_point(value: Value) -> Value:
    """Whole numbers are written without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

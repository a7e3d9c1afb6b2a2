"""The options of a run for forms, derived from the spec's fields."""

from __future__ import annotations

import json
import re
import types
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tuner_tui.config.sections import kinds_of
from tuner_tui.config.spec import RunSpec, Section

OptionKind = Literal["switch", "choice", "number", "text", "lines", "words"]
"""The input of a value; `lines` are texts one per line, `words` one of the choices or comma-separated names."""


@dataclass(frozen=True)
class Option:
    """One option of a run spec."""

    key: str
    """Its dotted key, such as training.epochs."""
    title: str
    help: str
    trade: str
    kind: OptionKind
    choices: tuple[str, ...]
    default: Any
    """None if absent means "chosen automatically" or "none"."""

    @property
    def section(self) -> str:
        """Its table; empty for the name."""
        return self.key.rpartition(".")[0]


def options_of(spec: RunSpec) -> tuple[Option, ...]:
    """The options that apply to a spec's method and tuning, in the order of run.toml."""
    options: list[Option] = []
    for section, field in RunSpec.model_fields.items():
        value = getattr(spec, section)
        options += (
            _of_section(section, type(value)) if isinstance(value, Section) else [_option(section, field)]
        )
    return tuple(options)


def find_option(spec: RunSpec, key: str) -> Option | None:
    """The option of a dotted key; None if it does not apply."""
    return next((option for option in options_of(spec) if option.key == key), None)


def kind_help(section: str) -> dict[str, str]:
    """Each kind of a section (method, tuning) with its description."""
    return {kind: (options.__doc__ or "").strip() for kind, options in kinds_of(section).items()}


def value_of(spec: RunSpec, key: str) -> Any:
    """The value of a dotted key."""
    section, _, name = key.rpartition(".")
    return getattr(getattr(spec, section) if section else spec, name)


def as_text(option: Option, value: Any) -> str:
    """A value as a form shows it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value).removesuffix(".0")
        case tuple():
            return ("\n" if option.kind == "lines" else ", ").join(value)
        case _:
            return str(value)


def as_toml(option: Option, text: str) -> str:
    """A form's text as input of `set_option`; empty means the default."""
    typed = text.strip()
    if not typed:
        return ""
    match option.kind:
        case "choice" if typed in ("true", "false"):
            return typed
        case "lines":
            return _listed(text.split("\n"))
        case "words" if typed not in option.choices:
            return _listed(typed.strip("[]").replace('"', "").split(","))
        case "number" if typed.lower() == "auto" and option.default is None:
            return ""  # as an empty field says
        case "number":
            typed = re.sub(r"^([+-]?)0+(?=\d)", r"\1", typed)
            return f"0{typed}" if typed.startswith(".") else typed
        case "switch":
            return typed
        case _:
            return json.dumps(typed, ensure_ascii=False)


def _listed(items: list[str]) -> str:
    return json.dumps([item.strip() for item in items if item.strip()], ensure_ascii=False)


@cache
def _of_section(section: str, options: type[Section]) -> list[Option]:
    return [_option(f"{section}.{name}", field) for name, field in options.model_fields.items()]


def _option(key: str, field: FieldInfo) -> Option:
    kind, choices = _kind(field.annotation)
    if key.endswith(".kind"):
        kind, choices = "choice", tuple(kinds_of(key.partition(".")[0]))
    extra = field.json_schema_extra
    trade = extra.get("trade", "") if isinstance(extra, dict) else ""
    return Option(
        key=key,
        title=field.title or key,
        help=field.description or "",
        trade=str(trade),
        kind=kind,
        choices=choices,
        default=None if field.is_required() else field.default,
    )


def _kind(annotation: Any) -> tuple[OptionKind, tuple[str, ...]]:
    """The input for a type, and the allowed words."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    parts = [part for part in (get_args(annotation) if is_union else (annotation,)) if part is not type(None)]
    literals = tuple(_word(word) for part in parts if get_origin(part) is Literal for word in get_args(part))
    if any(get_origin(part) is tuple for part in parts):
        return ("words" if literals else "lines"), literals
    if literals:
        return "choice", literals
    if parts == [bool]:
        return "switch", ()
    return ("number" if set(parts) <= {int, float} else "text"), ()


def _word(value: Any) -> str:
    """One of a choice's values as it is entered."""
    return str(value).lower() if isinstance(value, bool) else str(value)

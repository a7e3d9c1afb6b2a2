"""The sections of a run spec and their options, looked up by name."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from pydantic.fields import FieldInfo

from tuner_tui.config.spec import RunSpec, Section


@cache
def kinds_of(section: str) -> dict[str, type[Section]]:
    """The classes of a section by kind; one with the kind "" where there is no choice."""
    annotation = RunSpec.model_fields[section].annotation
    classes = [each for each in get_args(annotation) or (annotation,) if _is_section(each)]
    return {
        str(each.model_fields["kind"].default) if "kind" in each.model_fields else "": each
        for each in classes
    }


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


@cache
def all_options() -> dict[str, FieldInfo]:
    """Every option of every kind by its dotted key."""
    options: dict[str, FieldInfo] = {}
    for section, field in RunSpec.model_fields.items():
        kinds = kinds_of(section)
        if not kinds:
            options[section] = field
        for each in kinds.values():
            options |= {f"{section}.{key}": option for key, option in each.model_fields.items()}
    return options


def has_kinds(section: str) -> bool:
    return section in RunSpec.model_fields and bool(set(kinds_of(section)) - {""})

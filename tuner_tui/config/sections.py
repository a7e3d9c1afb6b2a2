"""Looks up the sections of a run spec and their options by name."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from pydantic.fields import FieldInfo

from tuner_tui.config.spec import RunSpec, Section


@cache
def kinds_of(section: str) -> dict[str, type[Section]]:
    """The classes of a section by kind; a single one with the kind "" if there is no choice."""
    annotation = RunSpec.model_fields[section].annotation
    classes = [candidate for candidate in get_args(annotation) or (annotation,) if _is_section(candidate)]
    return {
        str(section_class.model_fields["kind"].default)
        if "kind" in section_class.model_fields
        else "": section_class
        for section_class in classes
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
        for section_class in kinds.values():
            options |= {f"{section}.{key}": option for key, option in section_class.model_fields.items()}
    return options


def has_kinds(section: str) -> bool:
    return section in RunSpec.model_fields and bool(set(kinds_of(section)) - {""})

"""Changes a single option of a run spec, from a command line or a form."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from tuner_tui.config.explanations import Finding, explain_all, unknown_key
from tuner_tui.config.rules import Problem
from tuner_tui.config.sections import kinds_of
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_checks import typed, without_oddities
from tuner_tui.config.spec_file import SpecError

_DEFAULT = object()
"""The value that resets an option to its default."""


def set_option(spec: RunSpec, dotted_key: str, text_value: str) -> RunSpec:
    """The spec with one option set from a command line: a TOML value, bare words, or nothing (default).

    Rules are not checked, since the next option may complete the change; `require_rules` checks them.
    Setting a kind drops the options that the new kind does not have.
    """
    path = tuple(part.strip() for part in dotted_key.split("."))
    first_findings: list[Finding] = []
    for value in _readings(text_value):
        changed, findings = _with_option(spec, path, value)
        if changed is not None:
            return changed
        first_findings = first_findings or findings
    problems = tuple(Problem("", None, ".".join(path), message, hint) for _, message, hint in first_findings)
    raise SpecError(f"Cannot set {dotted_key}", problems)


def _readings(text: str) -> Iterator[Any]:
    """Possible readings of a command line's text, the likeliest first."""
    if not text.strip():
        yield _DEFAULT
        return
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        table = {}
    if table.keys() == {"value"}:
        yield table["value"]
        if isinstance(table["value"], str):
            return
    yield text


def _with_option(spec: RunSpec, path: tuple[str, ...], value: Any) -> tuple[RunSpec | None, list[Finding]]:
    section, key = path[0], path[-1]
    kinds = kinds_of(section) if section in RunSpec.model_fields else {}
    if kinds and len(path) == 1:
        example = next(iter(next(iter(kinds.values())).model_fields))
        return None, [(path, "is a table, so name one of its keys", f"For example {section}.{example}.")]
    if len(path) != (2 if kinds else 1) or (not kinds and section not in RunSpec.model_fields):
        return None, [(path, *unknown_key(path[-1:], None))]
    table = spec.model_dump(exclude_none=True)
    home = table[section] if kinds else table
    if value is _DEFAULT:
        home.pop(key, None)
        if key == "kind":
            value = RunSpec.model_fields[section].default.kind
    if value is not _DEFAULT:
        home[key] = value
    if key == "kind" and isinstance(value, str) and value in kinds:
        table[section] = {name: item for name, item in home.items() if name in kinds[value].model_fields}
    findings: dict[tuple[str, ...], Finding] = {}
    table = without_oddities(table, (), findings)
    if findings:
        return None, list(findings.values())
    changed, errors = typed(table)
    return changed, list(explain_all(errors, table).values())

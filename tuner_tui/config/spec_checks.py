"""Validates the table of a run.toml: a typed spec, or all of its problems."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from pydantic import ValidationError

from tuner_tui.config.explanations import Finding, explain_all
from tuner_tui.config.rules import check_rules
from tuner_tui.config.sections import has_kinds
from tuner_tui.config.spec import RunSpec


def validate(given: dict[str, Any]) -> tuple[RunSpec | None, list[Finding]]:
    """The spec of a table, or all of its problems, including broken rules."""
    findings: dict[tuple[str, ...], Finding] = {}
    table = without_oddities(given, (), findings)
    for section, field in RunSpec.model_fields.items():
        if field.is_required():
            table.setdefault(section, {})
    table = with_kinds(table)
    spec, errors = typed(table)
    findings = explain_all(errors, table) | findings
    keys = {".".join(path) for path in findings}
    for problem in check_rules(spec or typed(_pruned(table, findings))[0] or _blank(), keys):
        path = tuple(problem.key.split("."))
        findings[(*path, problem.message)] = (path, problem.message, problem.hint)
    return spec, list(findings.values())


def typed(table: dict[str, Any]) -> tuple[RunSpec | None, list[Any]]:
    """Strict JSON mode: "8" is not a number, 1 is not true, and lists may become tuples."""
    try:
        return RunSpec.model_validate_json(json.dumps(table), strict=True), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False))


def _blank() -> RunSpec:
    return RunSpec.model_validate({"model": {"source": "?"}, "data": {"train": "?"}})


def _pruned(table: dict[str, Any], bad_paths: dict[tuple[str, ...], Finding]) -> dict[str, Any]:
    """The table without its invalid keys, so that rules about the others can still be checked."""
    pruned = {key: dict(value) if isinstance(value, dict) else value for key, value in table.items()}
    for path in bad_paths:
        parent = pruned if len(path) == 1 else pruned.get(path[0], {})
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
    for section, key in (("model", "source"), ("data", "train")):
        pruned.setdefault(section, {}).setdefault(key, "?")
    return with_kinds(pruned)


def with_kinds(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose [method] and [tuning] have a kind, by default the default kind."""
    return {
        key: {"kind": RunSpec.model_fields[key].default.kind} | value
        if has_kinds(key) and isinstance(value, dict)
        else value
        for key, value in table.items()
    }


def without_oddities(value: Any, path: tuple[str, ...], findings: dict[tuple[str, ...], Finding]) -> Any:
    """A copy with None in place of values that no option can have; each is added to `findings`."""
    odd = ""
    if isinstance(value, dict):
        return {key: without_oddities(item, (*path, key), findings) for key, item in value.items()}
    if isinstance(value, list):
        return [without_oddities(item, path, findings) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        odd = f"is a date or time (got {value.isoformat()}), which no option accepts"
    elif isinstance(value, str) and ("\0" in value or re.search(r"[\ud800-\udfff]", value)):
        odd = "has an invalid character"
    elif isinstance(value, int) and abs(value) >= 2**63:
        odd = "is too large"
    if not odd:
        return value
    findings[path[:2]] = (path[:2], odd, "Put text in quotes." if "date" in odd else "")
    return None

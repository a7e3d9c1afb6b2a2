"""Reads run.toml and reports all problems with line and key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.config.rules import Problem, check_rules
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_checks import validate
from tuner_tui.config.spec_paths import resolve_paths
from tuner_tui.config.toml_lines import key_lines, line_of, toml_problem
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.guarded import Unreadable

LARGEST_FILE_BYTES = 1 << 20
"""A run.toml has a few kilobytes; a larger file is given by mistake."""


class SpecError(InputError):
    """All problems of a run spec."""

    def __init__(self, title: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(title, "\n".join(str(problem) for problem in problems))
        self.problems = problems


def read_spec(path: Path) -> RunSpec:
    """The spec in a file, with relative paths resolved against its folder; SpecError names all problems."""
    return parse_spec(read_text(path), path.name, path.absolute().parent)


def read_text(path: Path) -> str:
    """The text of a TOML file. Raises InputError with the reason if it cannot be read."""
    try:
        with guarded.open_regular(path) as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except Unreadable as error:
        if error.is_missing:
            raise NotFoundError(
                "No such file", str(path), "`presets list` shows recipes to start from."
            ) from None
        if error.is_folder:
            raise InputError("A folder, not a file", str(path), "Give the run.toml inside it.") from None
        raise InputError("Cannot read the file", f"{path}: {error.problem}.", error.hint) from None
    except OSError as error:
        raise InputError("Cannot read the file", f"{path}: {error.strerror or error}") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise InputError("Too big for a run.toml", f"{path} has more than {LARGEST_FILE_BYTES >> 20} MiB.")
    if b"\0" in data:
        raise InputError("Not a text file", f"{path} has NUL bytes.", "A run.toml is a UTF-8 text file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError("Not UTF-8 text", f"{path}, line {line}.", "Save the file as UTF-8.") from None
    if not text.strip():
        raise InputError("Empty file", f"{path} is empty.", "`presets copy` writes a recipe to start from.")
    return text


def parse_spec(text: str, name: str, base_dir: Path | None = None) -> RunSpec:
    """Parse a text as a spec; problems name the file `name`; without `base_dir`, paths stay unchanged."""
    table = _parse_toml(text, name)
    spec, findings = validate(table)
    if findings:
        lines = key_lines(text)
        problems = [
            Problem(name, line_of(lines, path), ".".join(path), message, hint)
            for path, message, hint in findings
        ]
        problems.sort(key=lambda problem: (problem.line or 0, problem.key))
        raise SpecError(_title(name, len(problems)), tuple(problems))
    assert spec is not None
    return spec if base_dir is None else resolve_paths(spec, base_dir)


def require_rules(spec: RunSpec, name: str = "The run") -> None:
    """Raise SpecError when a spec breaks a rule."""
    if problems := check_rules(spec):
        raise SpecError(_title(name, len(problems)), problems)


def _title(name: str, count: int) -> str:
    return f"{name} has a problem" if count == 1 else f"{name} has {count} problems"


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line, message = toml_problem(text, error)
    raise SpecError(f"{name} cannot be read as TOML", (Problem(name, line, "", message),)) from None

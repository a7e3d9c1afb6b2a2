"""Reading run.toml, with every problem named by line and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from tuner_tui.config.rules import Problem, check_rules
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_checks import validate
from tuner_tui.config.spec_paths import resolve_paths
from tuner_tui.config.toml_lines import key_lines, line_of
from tuner_tui.errors import InputError, NotFoundError

LARGEST_FILE_BYTES = 1 << 20
"""A run.toml is a few kilobytes; anything beyond this is another kind of file given by mistake."""


class SpecError(InputError):
    """A run spec with problems, all of them."""

    def __init__(self, title: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(title, "\n".join(str(problem) for problem in problems))
        self.problems = problems


def read_spec(path: Path) -> RunSpec:
    """The spec in a file, with relative paths resolved against its folder; SpecError names all problems."""
    return parse_spec(read_text(path), path.name, path.absolute().parent)


def read_text(path: Path) -> str:
    """The text of a TOML file, or an error that says why it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(
            "No such file", str(path), "`presets list` shows recipes to start from."
        ) from None
    except IsADirectoryError:
        raise InputError("A folder, not a file", str(path), "Name the run.toml inside it.") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a possible file name"
        raise InputError("Cannot read the file", f"{path}: {reason}") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise InputError("Too big for a run.toml", f"{path} has more than {LARGEST_FILE_BYTES >> 20} MiB.")
    if b"\0" in data:
        raise InputError("Not a text file", f"{path} holds NUL bytes.", "A run.toml is plain UTF-8 text.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError("Not UTF-8 text", f"{path}, line {line}.", "Save the file as UTF-8.") from None
    if not text.strip():
        raise InputError(
            "Empty file", f"{path} holds nothing.", "`presets copy` writes a recipe to start from."
        )
    return text


def parse_spec(text: str, name: str, base_dir: Path | None = None) -> RunSpec:
    """The spec in a text, whose problems name the file `name`; no `base_dir` leaves paths as they are."""
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
    """Raise SpecError when a spec that was put together elsewhere breaks a rule."""
    if problems := check_rules(spec):
        raise SpecError(_title(name, len(problems)), problems)


def _title(name: str, count: int) -> str:
    return f"{name} has a problem" if count == 1 else f"{name} has {count} problems"


TOML_WORDS = (
    ("Invalid statement", 'expected "key = value", a [table] or a # comment'),
    ("Expected newline", "there is more after the value; each key stands on a line of its own"),
    ("Expected '=' after", 'a key is followed by "= value"'),
    ("Invalid value", "not a value: text stands in quotes, and true and false in small letters"),
    ("Unterminated string", "the closing quote is missing"),
    ("Illegal character", "the closing quote is missing, or a control character stands in the text"),
    ("Found invalid character", "a control character or line break stands where none may"),
    ("Cannot overwrite", "this key is given twice"),
    ("Duplicate inline", "this key is given twice"),
    ("Cannot declare", "this table is given twice"),
    ("Cannot", "this table was already written in another way"),
    ("Expected ']", "the closing bracket of the table's name is missing"),
    ("Unclosed array", "the closing ] of the list is missing, or a comma between its items"),
    ("Unclosed inline", "the closing } of the table is missing, or a comma between its keys"),
    ("Unescaped", "a backslash is doubled in \"text\", or the text stands in 'single quotes'"),
    ("Invalid hex", "a \\u escape needs four hexadecimal digits, \\U eight"),
    ("Escaped character", "this escape stands for no character"),
    ("Invalid date", "no such date; text stands in quotes"),
    ("Invalid initial", "a key is made of letters, digits, _ and -"),
    ("Expected", "the closing quote is missing"),
)
"""What tomllib says, by how it starts, and how we say it."""


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    line: int | None = None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        words = next((ours for start, ours in TOML_WORDS if said.startswith(start)), "this is not TOML")
        place = re.search(r"\(at line (\d+), column (\d+)\)$", said)
        line = int(place[1]) if place else text.rstrip().count("\n") + 1
        message = f"column {place[2]}: {words}" if place else f"at the end of the file: {words}"
    except RecursionError:
        message = "lists or tables are nested too deeply"
    except ValueError:
        message = "holds a number with too many digits"
    raise SpecError(f"{name} cannot be read as TOML", (Problem(name, line, "", message),)) from None

"""run.toml: read it with every problem named by line and key, write it, and change single options."""

from __future__ import annotations

import datetime
import difflib
import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, get_args

import tomlkit
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment, Table

from tuner_tui.config.rules import Problem as Problem
from tuner_tui.config.rules import check_rules
from tuner_tui.config.spec import RunSpec, Section
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.files import write_atomic

DEMO = "demo"
"""The word that stands for the shipped demo's model and data."""
LARGEST_FILE_BYTES = 1 << 20
"""A run.toml is a few kilobytes; anything beyond this is another kind of file given by mistake."""

OTHER_NAMES = {
    "lr": "training.learning_rate",
    "r": "tuning.rank",
    "lora_r": "tuning.rank",
    "lora_alpha": "tuning.alpha",
    "lora_dropout": "tuning.dropout",
    "target_modules": "tuning.targets",
    "num_train_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "per_device_train_batch_size": "training.micro_batch",
    "micro_batch_size": "training.micro_batch",
    "gradient_accumulation_steps": "training.batch_size",
    "gradient_checkpointing": "training.checkpointing",
    "max_seq_length": "training.max_length",
    "sequence_length": "training.max_length",
    "lr_scheduler_type": "training.schedule",
    "warmup_ratio": "training.warmup",
    "warmup_steps": "training.warmup",
    "optim": "training.optimizer",
    "model_name": "model.source",
    "base_model": "model.source",
    "quantization": "model.precision",
    "load_in_4bit": "model.precision",
    "load_in_8bit": "model.precision",
    "dtype": "model.precision",
    "dataset": "data.train",
    "save_steps": "checkpoints.every_steps",
    "save_total_limit": "checkpoints.keep",
    "eval_steps": "evaluation.every_steps",
}
"""What other tools call our options."""

OTHER_WORDS = {
    "4bit": "nf4",
    "4-bit": "nf4",
    "int4": "nf4",
    "8bit": "int8",
    "8-bit": "int8",
    "float32": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "gpu": "cuda",
    "true": "on",
    "false": "off",
    "flash": "flash_attention_2",
    "instruct": "instruction",
    "chat": "messages",
}
"""What other tools call our words."""


class SpecError(InputError):
    """A run spec with problems, all of them."""

    def __init__(self, title: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(title, "\n".join(str(problem) for problem in problems))
        self.problems = problems


# Reading ---------------------------------------------------------------------------------------------------


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
    spec, findings = _validate(table)
    if findings:
        lines = key_lines(text)
        problems = [
            Problem(name, _line(lines, path), ".".join(path), message, hint)
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


# Checking --------------------------------------------------------------------------------------------------

Finding = tuple[tuple[str, ...], str, str]
"""The path of a key, what is wrong, and a hint."""


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
def _options() -> dict[str, FieldInfo]:
    """Every option of every kind by its dotted key."""
    options: dict[str, FieldInfo] = {}
    for section, field in RunSpec.model_fields.items():
        kinds = kinds_of(section)
        if not kinds:
            options[section] = field
        for each in kinds.values():
            options |= {f"{section}.{key}": option for key, option in each.model_fields.items()}
    return options


def _has_kinds(section: str) -> bool:
    return section in RunSpec.model_fields and bool(set(kinds_of(section)) - {""})


def _validate(given: dict[str, Any]) -> tuple[RunSpec | None, list[Finding]]:
    """The spec of a table with our rules applied, or everything that is wrong with it."""
    findings: dict[tuple[str, ...], Finding] = {}
    table = _without_oddities(given, (), findings)
    for section, field in RunSpec.model_fields.items():
        if field.is_required():
            table.setdefault(section, {})
    table = _with_kinds(table)
    spec, errors = _typed(table)
    findings = _explain_all(errors, table) | findings
    keys = {".".join(path) for path in findings}
    for problem in check_rules(spec or _typed(_pruned(table, findings))[0] or _blank(), keys):
        path = tuple(problem.key.split("."))
        findings[(*path, problem.message)] = (path, problem.message, problem.hint)
    return spec, list(findings.values())


def _typed(table: dict[str, Any]) -> tuple[RunSpec | None, list[Any]]:
    """Strict JSON mode: "8" is no number, 1 is not true, and lists may become tuples."""
    try:
        return RunSpec.model_validate_json(json.dumps(table), strict=True), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False))


def _blank() -> RunSpec:
    return RunSpec.model_validate({"model": {"source": "?"}, "data": {"train": "?"}})


def _pruned(table: dict[str, Any], bad_paths: dict[tuple[str, ...], Finding]) -> dict[str, Any]:
    """The table without its faulty keys, so that rules about the others can still be looked at."""
    pruned = {key: dict(value) if isinstance(value, dict) else value for key, value in table.items()}
    for path in bad_paths:
        parent = pruned if len(path) == 1 else pruned.get(path[0], {})
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
    for section, key in (("model", "source"), ("data", "train")):
        pruned.setdefault(section, {}).setdefault(key, "?")
    return _with_kinds(pruned)


def _with_kinds(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose [method] and [tuning] name their kind; the default one where they do not."""
    return {
        key: {"kind": RunSpec.model_fields[key].default.kind} | value
        if _has_kinds(key) and isinstance(value, dict)
        else value
        for key, value in table.items()
    }


def _without_oddities(value: Any, path: tuple[str, ...], findings: dict[tuple[str, ...], Finding]) -> Any:
    """A copy with None in place of values that no option can have, each noted in `findings`."""
    odd = ""
    if isinstance(value, dict):
        return {key: _without_oddities(item, (*path, key), findings) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_oddities(item, path, findings) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        odd = f"is a date or time (got {value.isoformat()}), which no option takes"
    elif isinstance(value, str) and ("\0" in value or re.search(r"[\ud800-\udfff]", value)):
        odd = "holds a character that no text may have"
    elif isinstance(value, int) and abs(value) >= 2**63:
        odd = "is too large a number"
    if not odd:
        return value
    findings[path[:2]] = (path[:2], odd, "Text stands in quotes." if "date" in odd else "")
    return None


def _explain_all(errors: list[Any], table: dict[str, Any]) -> dict[tuple[str, ...], Finding]:
    by_path: dict[tuple[str, ...], list[Any]] = {}
    for error in errors:
        tag = ("kind",) if error["type"].startswith("union_tag") else ()
        by_path.setdefault((*_path(error["loc"]), *tag), []).append(error)
    return {path: (path, *_explain(path, same, table)) for path, same in by_path.items()}


def _path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The key an error is about: without the tag of a union and what follows the key."""
    parts = [str(part) for part in loc]
    if len(parts) > 1 and _has_kinds(parts[0]) and parts[1] in kinds_of(parts[0]):
        del parts[1]
    return tuple(parts[:2])


def _explain(path: tuple[str, ...], errors: list[Any], table: dict[str, Any]) -> tuple[str, str]:
    """A message and a hint, in our words, for what pydantic found at one key."""
    error = errors[0]
    value = error["input"]
    kind = table[path[0]].get("kind") if len(path) == 2 and _has_kinds(path[0]) else None
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(path, value, kind)
        case "missing":
            option = _options()[".".join(path)]
            return "must be given", option.description or ""
        case "union_tag_invalid" | "union_tag_not_found":
            return _unknown_kind(path[0], kind)
        case "model_type" | "model_attributes_type" | "dict_type":
            example = next(iter(kinds_of(path[0]).values())).model_fields
            hint = f"Write [{path[0]}] and below it keys such as {next(iter(example))}."
            return f"must be a table{_got(value)}", hint
    if items := [each for each in errors if isinstance(each["loc"][-1], int)]:
        lacks = [
            f"item {each['loc'][-1] + 1} must {_requirement(each)}{_got(each['input'])}" for each in items
        ]
        return "; ".join(lacks[:3]), ""
    requirements = list(dict.fromkeys(_requirement(each) for each in errors))
    told = " or ".join(requirements).replace(" or be a list", ", or a list")
    return f"must {told}{_got(value)}", _nearest_word(errors, value)


def _requirement(error: Any) -> str:
    """What a value has to be; follows "must"."""
    context = error.get("ctx", {})
    match error["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "be a whole number"
        case "float_type" | "float_parsing" | "finite_number":
            return "be a number"
        case "bool_type" | "bool_parsing":
            return "be true or false"
        case "string_type":
            return "be text in quotes"
        case "tuple_type" | "list_type":
            return 'be a list such as ["..."]'
        case "literal_error":
            return f"be {_listed(_words(error))}"
        case "greater_than":
            return f"be above {_number(context['gt'])}"
        case "greater_than_equal":
            return f"be at least {_number(context['ge'])}"
        case "less_than":
            return f"be below {_number(context['lt'])}"
        case "less_than_equal":
            return f"be at most {_number(context['le'])}"
        case "string_too_short":
            return "not be empty"
        case "string_too_long":
            return f"have at most {context['max_length']} characters"
        case _:
            return "be something else"


def _number(bound: float) -> str:
    return f"{bound:g}" if abs(bound) < 1e6 else f"{bound:,.0f}".replace(",", "")


def _words(error: Any) -> list[str]:
    return re.findall(r"'([^']*)'", error["ctx"]["expected"])


def _listed(words: list[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _got(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict():
            return " (got a table)"
        case list():
            return " (got a list)"
        case str() if len(value) > 60:
            return f" (got {len(value)} characters)"
        case str() | bool():
            return f" (got {json.dumps(value, ensure_ascii=False)})"
        case _:
            return f" (got {value})"


def _nearest(word: str, words: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word[:60].lower(), words, n=1)), None)


def _nearest_word(errors: list[Any], value: Any) -> str:
    words = [word for error in errors if error["type"] == "literal_error" for word in _words(error)]
    if isinstance(value, bool | str):
        said = str(value).lower()
        other = OTHER_WORDS.get(said)
        near = other if other in words else _nearest(said, words)
        return f'Did you mean "{near}"?' if near else ""
    return ""


def _unknown_kind(section: str, kind: Any) -> tuple[str, str]:
    kinds = list(kinds_of(section))
    if not isinstance(kind, str):
        return f"must be {_listed(kinds)}{_got(kind)}", ""
    if kind.lower() == "qlora" and section == "tuning":
        hint = 'QLoRA is kind = "lora" with model.precision = "nf4".'
    else:
        near = _nearest(kind, kinds)
        hint = f'Did you mean "{near}"?' if near else ""
    return (
        f"there is no {section} {json.dumps(kind[:60], ensure_ascii=False)}; kind is {_listed(kinds)}",
        hint,
    )


def _unknown_key(path: tuple[str, ...], value: Any, kind: Any = None) -> tuple[str, str]:
    """Where a key that stands in the wrong place belongs, or the nearest one that there is."""
    section, key = path[0], path[-1]
    unknown = "there is no such key"
    if len(path) == 2:
        kinds = kinds_of(section)
        if owners := [each for each, fields in kinds.items() if key in fields.model_fields]:
            return (
                f'belongs to kind = {_listed(owners)}, and this is kind = "{kind}"',
                "Leave it out or change kind.",
            )
        if near := _nearest(key, list(kinds.get(kind or "", Section).model_fields)):
            return unknown, f'Did you mean "{near}"?'
    elif isinstance(value, dict):
        near = _nearest(key, list(RunSpec.model_fields))
        homes = [each for each in filter(_has_kinds, RunSpec.model_fields) if key in kinds_of(each)]
        if homes:
            return "there is no such table", f'Write [{homes[0]}] with kind = "{key}".'
        return "there is no such table", f"Did you mean [{near}]?" if near else ""
    sections = [f"[{each.split('.')[0]}]" for each in _options() if "." in each and each.split(".")[1] == key]
    if sections:
        return f"belongs in {' or '.join(sections)}", ""
    if key.lower() in OTHER_NAMES:
        return unknown, f"It is called {OTHER_NAMES[key.lower()]} here."
    names = {each.rpartition(".")[2]: each for each in _options()}
    near = _nearest(key, list(names))
    return unknown, f"Did you mean {names[near]}?" if near else ""


# Lines -----------------------------------------------------------------------------------------------------

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|[^,\]}#\n]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key and table of valid TOML first stands; what is not understood is left out."""
    return _LineFinder(text).lines()


class _LineFinder:
    """Walks over valid TOML; every step moves `_at` on, and a step that does not fit ends the walk."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[tuple[str, ...], int] = {}

    def lines(self) -> dict[tuple[str, ...], int]:
        table: tuple[str, ...] = ()
        try:
            while self._skip(_GAP) < len(self._text):
                if self._text[self._at] == "[":
                    self._at += 2 if self._text.startswith("[[", self._at) else 1
                    table = self._key(())
                    self._at = self._text.index("]", self._at)
                    self._at += 2 if self._text.startswith("]]", self._at) else 1
                else:
                    self._pair(table)
        except (ValueError, IndexError, RecursionError):
            pass
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> int:
        if (match := pattern.match(self._text, self._at)) is None:
            raise ValueError
        self._at = match.end()
        return self._at

    def _key(self, table: tuple[str, ...]) -> tuple[str, ...]:
        path = table
        while True:
            start = self._skip(_SPACE)
            part = self._text[start : self._skip(_KEY)]
            path = (*path, next(iter(tomllib.loads(f"{part} = 0"))))
            self._lines.setdefault(path, bisect_right(self._breaks, start) + 1)
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1

    def _pair(self, table: tuple[str, ...]) -> None:
        path = self._key(table)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _value(self, path: tuple[str, ...]) -> None:
        self._skip(_SPACE)
        opening = self._text[self._at]
        if opening not in "[{":
            self._skip(_SCALAR)
            return
        self._at += 1
        closing = "]" if opening == "[" else "}"
        while self._text[self._skip(_GAP)] != closing:
            if opening == "[":
                self._value((*path, "[]"))
            else:
                self._pair(path)
        self._at += 1


def _line(lines: dict[tuple[str, ...], int], path: tuple[str, ...]) -> int | None:
    """The line of a key, or of the table that lacks it."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


# Paths -----------------------------------------------------------------------------------------------------


def resolve_paths(spec: RunSpec, base_dir: Path) -> RunSpec:
    """The spec with relative paths counted from a folder; Hub names and the word "demo" stay."""
    values = {key: _resolved(key, value, base_dir) for key, value in _paths(spec)}
    model = {"source": values["model.source"]}
    data = {key: values[f"data.{key}"] for key in ("train", "evaluation") if f"data.{key}" in values}
    return spec.model_copy(
        update={"model": spec.model.model_copy(update=model), "data": spec.data.model_copy(update=data)}
    )


def _paths(spec: RunSpec) -> Iterator[tuple[str, str]]:
    yield "model.source", spec.model.source
    yield "data.train", spec.data.train
    if spec.data.evaluation is not None:
        yield "data.evaluation", spec.data.evaluation


def _resolved(key: str, value: str, base_dir: Path) -> str:
    if value == DEMO or "://" in value or (key == "model.source" and not _is_local(value, base_dir)):
        return value
    path = Path(value)
    with suppress(RuntimeError):  # "~name" of nobody we know
        path = path.expanduser()
    return str(base_dir.absolute() / path)


def _is_local(source: str, base_dir: Path) -> bool:
    if (
        source.startswith(("./", "../", "~", "/"))
        or source in (".", "..")
        or source.lower().endswith(".gguf")
    ):
        return True
    try:
        return (base_dir / source).is_dir()
    except (OSError, ValueError):  # too long or impossible as a file name
        return False


# Writing ---------------------------------------------------------------------------------------------------


def write_spec(spec: RunSpec, path: Path, *, base_text: str | None = None) -> None:
    """Write a spec as TOML, at once; `base_text` is the person's own file, whose comments and order stay."""
    write_atomic(path, spec_text(spec, base_text, base_dir=path.absolute().parent))


def spec_text(spec: RunSpec, base_text: str | None = None, *, base_dir: Path | None = None) -> str:
    """A spec as TOML: fresh, or the text it came from with only the changed values changed.

    With `base_dir`, a relative path of `base_text` that still means the same file stays as it was written.
    """
    if base_text is not None:
        try:
            text = _updated_text(spec, base_text, base_dir)
            if _same(spec, text, base_dir):
                return text
        except (TOMLKitError, ValueError, LookupError, TypeError, AttributeError):
            pass  # what tomlkit cannot edit is written afresh: values matter more than comments
    return _fresh_text(spec)


def _same(spec: RunSpec, text: str, base_dir: Path | None) -> bool:
    again = _typed(_with_kinds(tomllib.loads(text)))[0]
    if again is None or base_dir is None:
        return again == spec
    return resolve_paths(again, base_dir) == resolve_paths(spec, base_dir)


def _fresh_text(spec: RunSpec) -> str:
    blocks: list[list[str]] = [[]]
    for section, field in RunSpec.model_fields.items():
        value = getattr(spec, section)
        if not isinstance(value, Section):
            if value is not None:
                blocks[0].append(f"{section} = {_encoded(value)}  # {field.title}")
            continue
        options = type(value).model_fields
        lines = [f"{key} = {_encoded(item)}  # {options[key].title}" for key, item in _told(value).items()]
        if lines:
            blocks.append([f"[{section}]", *lines])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _told(section: Section) -> dict[str, Any]:
    """What has to be written of a section: its kind and what is not the default."""
    options = type(section).model_fields
    values = {key: getattr(section, key) for key in options}
    return {key: item for key, item in values.items() if key == "kind" or item != options[key].default}


def _encoded(value: Any) -> str:
    if isinstance(value, tuple) and sum(len(item) + 4 for item in value) > 80:
        return "\n".join(["[", *(f"  {_encoded(item)}," for item in value), "]"])
    return str(tomlkit.item(_plain(value)).as_string())


def _updated_text(spec: RunSpec, base_text: str, base_dir: Path | None) -> str:
    document = tomlkit.parse(base_text)
    base = tomllib.loads(base_text)
    for key in base.keys() - RunSpec.model_fields.keys():
        document.remove(key)
    for key in RunSpec.model_fields:
        value, given = getattr(spec, key), base.get(key)
        if isinstance(value, Section) and isinstance(given, dict):
            _update_table(document[key], key, given, value, base_dir)
        elif isinstance(value, Section):
            document.pop(key, None)
            if value != RunSpec.model_fields[key].default:
                document[key] = {name: _plain(item) for name, item in _told(value).items()}
        elif value is None:
            document.pop(key, None)
        elif given is not None:
            if given != value:
                document[key] = _item(value)
        else:  # below the comment that the file starts with
            after = next((n for n, (_, item) in enumerate(document.body) if not isinstance(item, Comment)), 0)
            document._insert_at(after, key, _item(value))
    return str(document.as_string())


def _update_table(
    table: Any, section: str, given: dict[str, Any], wanted: Section, base_dir: Path | None
) -> None:
    values = {key: item for key in type(wanted).model_fields if (item := getattr(wanted, key)) is not None}
    for key in given.keys() - values.keys():
        del table[key]
    last = next((key for key in reversed(given) if key in values), None)
    for key, item in values.items():
        if key in given:
            if not _means_same(f"{section}.{key}", given[key], item, base_dir):
                table[key] = _item(item)
        elif key not in _told(wanted):
            continue
        elif isinstance(table, Table) and not table.is_super_table() and last is not None:
            table.value._insert_after(last, key, _item(item))  # add() would put it below trailing comments
            last = key
        else:
            table[key] = _item(item)


def _means_same(key: str, given: Any, wanted: Any, base_dir: Path | None) -> bool:
    if given == _plain(wanted) and isinstance(given, bool) == isinstance(wanted, bool):
        return True
    is_path = key in ("model.source", "data.train", "data.evaluation") and isinstance(given, str)
    return is_path and base_dir is not None and _resolved(key, given, base_dir) == wanted


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _item(value: Any) -> Any:
    return tomlkit.value(_encoded(value))


# Single options --------------------------------------------------------------------------------------------

_DEFAULT = object()
"""The value of an option that goes back to its default."""


def set_option(spec: RunSpec, dotted_key: str, text_value: str) -> RunSpec:
    """The spec with one option set from a command line: a TOML value, bare words, or nothing (default).

    Rules are not looked at, since the next option may complete the change; `require_rules` does it.
    Setting a kind drops the options that the new kind does not have.
    """
    path = tuple(part.strip() for part in dotted_key.split("."))
    found: list[Finding] = []
    for value in _readings(text_value):
        changed, findings = _with_option(spec, path, value)
        if changed is not None:
            return changed
        found = found or findings
    problems = tuple(Problem("", None, ".".join(path), message, hint) for _, message, hint in found)
    raise SpecError(f"Cannot set {dotted_key}", problems)


def _readings(text: str) -> Iterator[Any]:
    """What a command line's text may mean, the likeliest first."""
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
        return None, [(path, "is a table, so name one of its keys", f"Such as {section}.{example}.")]
    if len(path) != (2 if kinds else 1) or (not kinds and section not in RunSpec.model_fields):
        return None, [(path, *_unknown_key(path[-1:], None))]
    table = spec.model_dump(exclude_none=True)
    home = table[section] if kinds else table
    if value is _DEFAULT:
        home.pop(key, None)
        if key == "kind":
            value = RunSpec.model_fields[section].default.kind
    if value is not _DEFAULT:
        home[key] = value
    if key == "kind" and isinstance(value, str) and value in kinds:
        table[section] = {each: item for each, item in home.items() if each in kinds[value].model_fields}
    findings: dict[tuple[str, ...], Finding] = {}
    table = _without_oddities(table, (), findings)
    if findings:
        return None, list(findings.values())
    changed, errors = _typed(table)
    return changed, list(_explain_all(errors, table).values())

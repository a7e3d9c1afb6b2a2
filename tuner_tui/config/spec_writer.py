"""Writes a run spec as TOML, preserving the order of its file, and the comments that are still true."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment, Table

from tuner_tui.config.spec import RunSpec, Section
from tuner_tui.config.spec_checks import typed, with_kinds
from tuner_tui.config.spec_paths import resolve_paths, resolved
from tuner_tui.files import write_atomic


def write_spec(spec: RunSpec, path: Path, *, base_text: str | None = None, is_recipe: bool = False) -> None:
    """Write a spec as TOML atomically, as `spec_text` gives it for the folder of `path`."""
    text = spec_text(spec, base_text, base_dir=path.absolute().parent, is_recipe=is_recipe)
    write_atomic(path, text, is_private=False)


def spec_text(
    spec: RunSpec,
    base_text: str | None = None,
    *,
    base_dir: Path | None = None,
    is_recipe: bool = False,
) -> str:
    """A spec as TOML: new, or its original text with only the changed values replaced.

    The comment of a changed value goes with it, since it is about the value before. With `base_dir`, a relative path in
    `base_text` that still refers to the same file stays as written. With `is_recipe`, `base_text` is a shipped preset,
    whose leading comment describes it as a whole and goes with the first change.
    """
    if base_text is not None:
        try:
            text = _updated_text(spec, base_text, base_dir)
            if _same(spec, text, base_dir):
                return _without_header(text) if is_recipe and text != base_text else text
        except (TOMLKitError, ValueError, LookupError, TypeError, AttributeError):
            pass  # a text that tomlkit cannot edit is rewritten: values matter more than comments
    return _fresh_text(spec)


def _without_header(text: str) -> str:
    """Without the comment that a text begins with."""
    lines = text.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[first:]).lstrip("\n")


def _same(spec: RunSpec, text: str, base_dir: Path | None) -> bool:
    again = typed(with_kinds(tomllib.loads(text)))[0]
    if again is None or base_dir is None:
        return again == spec
    return resolve_paths(again, base_dir) == resolve_paths(spec, base_dir)


def _fresh_text(spec: RunSpec) -> str:
    blocks: list[list[str]] = [[]]
    for section, field in RunSpec.model_fields.items():
        value = getattr(spec, section)
        if not isinstance(value, Section):
            if value is not None:
                blocks[0].append(f"{section} = {encoded(value)}  # {field.title}")
            continue
        options = type(value).model_fields
        lines = [
            f"{key} = {encoded(item)}  # {options[key].title}" for key, item in _non_default(value).items()
        ]
        if lines:
            blocks.append([f"[{section}]", *lines])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _non_default(section: Section) -> dict[str, Any]:
    """The options of a section to write: its kind and all that differ from the default."""
    options = type(section).model_fields
    values = {key: getattr(section, key) for key in options}
    return {key: item for key, item in values.items() if key == "kind" or item != options[key].default}


def encoded(value: Any) -> str:
    if isinstance(value, tuple) and sum(len(item) + 4 for item in value) > 80:
        return "\n".join(["[", *(f"  {encoded(item)}," for item in value), "]"])
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
                document[key] = {name: _plain(item) for name, item in _non_default(value).items()}
        elif value is None:
            document.pop(key, None)
        elif given is not None:
            if given != value:
                _replace(document, key, value, RunSpec.model_fields[key].title)
        else:  # below the file's leading comment
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
                _replace(table, key, item, type(wanted).model_fields[key].title)
        elif key not in _non_default(wanted):
            continue
        elif isinstance(table, Table) and not table.is_super_table() and last is not None:
            table.value._insert_after(last, key, _item(item))  # add() would insert it below trailing comments
            last = key
        else:
            table[key] = _item(item)


def _replace(table: Any, key: str, value: Any, title: str | None) -> None:
    """Replace a value with its comment, unless that is only the option's title, as in a new text."""
    item = _item(value)
    table[key] = item  # it takes the comment of the value before
    if item.trivia.comment.lstrip("# ") != title:
        item.trivia.comment_ws = item.trivia.comment = ""


def _means_same(key: str, given: Any, wanted: Any, base_dir: Path | None) -> bool:
    if given == _plain(wanted) and isinstance(given, bool) == isinstance(wanted, bool):
        return True
    is_path = key in ("model.source", "data.train", "data.evaluation") and isinstance(given, str)
    return is_path and base_dir is not None and resolved(key, given, base_dir) == wanted


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _item(value: Any) -> Any:
    return tomlkit.value(encoded(value))

"""`python -m tests.make_reference`: writes docs/reference/ from the code; `--check` fails where a page is stale."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
import typing
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click
import msgspec
from pydantic_core import PydanticUndefined

from tuner_tui.cli import EXIT_CODES, tuner_tui
from tuner_tui.config.sections import kinds_of
from tuner_tui.config.setting_list import SETTINGS
from tuner_tui.config.setting_values import value_text
from tuner_tui.config.spec import RunSpec
from tuner_tui.planning import oom_fallback, plan
from tuner_tui.runs import events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `python -m tests.make_reference` from the code: change the code, not this page. -->"


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    return {
        "run-toml.md": _run_toml(),
        "commands.md": _commands(),
        "settings.md": _settings(),
        "events.md": _events(),
        "exit-codes.md": _exit_codes(),
    }


def stale_pages() -> list[str]:
    """The names of pages that differ from the code, or that no code stands for."""
    made = pages()
    stored = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    return sorted(name for name in made.keys() | stored.keys() if made.get(name) != stored.get(name))


# -- run.toml -----------------------------------------------------------------------------------------------


def _run_toml() -> str:
    parts = [
        "# Keys of run.toml",
        NOTE,
        "Each table with its keys, types, defaults and meaning. Keys without a default are required; all others may be "
        "left out. Unknown keys are errors. The same keys work with `--set`, such as `--set tuning.rank=32`.",
    ]
    single = [(name, field) for name, field in RunSpec.model_fields.items() if not kinds_of(name)]
    parts += ["## At the top", _table_of_options(single)]
    for section in RunSpec.model_fields:
        for kind, section_class in kinds_of(section).items():
            title = f"## [{section}] with kind = {kind}" if kind else f"## [{section}]"
            parts += [title, _sentence(section_class.__doc__)]
            parts.append(_table_of_options(list(section_class.model_fields.items())))
    return _joined(parts)


def _table_of_options(fields: list[tuple[str, FieldInfo]]) -> str:
    rows = []
    for name, field in fields:
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        meaning = " ".join(part for part in (field.description or "", str(extra.get("trade", ""))) if part)
        rows.append((f"`{name}`", _type(field.annotation, field.metadata), _default(field), meaning))
    return _table(("key", "type", "default", "meaning"), rows)


def _type(annotation: Any, metadata: list[Any]) -> str:
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(rule, name, None) is not None
    ]
    return ", ".join([_type_name(annotation), *bounds])


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{_toml(choice)}`" for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(part) for part in arguments if part is not type(None))
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}" if arguments[1:] == (...,) else "list"
    if origin is dict:
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "unset" if field.default is None else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- commands -----------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command that does something, by its whole name."""
    yield from _walk("tuner-tui", tuner_tui, None)


def _walk(
    name: str, command: click.Command, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    if not isinstance(command, click.Group):
        yield name, command, context
        return
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        assert found is not None
        yield from _walk(f"{name} {inner}", found, context)


def _commands() -> str:
    parts = [
        "# Commands",
        NOTE,
        "`tuner-tui` without a command opens the app; `-h` or `--help` after any command lists its options. Commands "
        "with `--json` print JSON for scripts. [Exit codes](exit-codes.md) are the same for all.",
    ]
    for name, command, context in commands():
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        parts += [f"## {name}", f"`{usage}`", *_help(command)]
        rows = [
            (
                f"`{', '.join([*option.opts, *option.secondary_opts])}`",
                _value(option, context),
                option.help or "",
            )
            for option in command.params
            if isinstance(option, click.Option)
        ]
        if rows:
            parts.append(_table(("option", "value", "meaning"), rows))
    return _joined(parts)


def _help(command: click.Command) -> list[str]:
    """A command's help; paragraphs that click does not wrap are code."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    shown = []
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            lines = paragraph.removeprefix("\b").strip("\n")
            shown.append(f"```text\n{inspect.cleandoc(lines)}\n```")
        else:
            shown.append(_escaped(" ".join(paragraph.split())))
    return [text for text in shown if text]


def _value(option: click.Option, context: click.Context) -> str:
    if option.is_flag:
        return "switch"
    if isinstance(option.type, click.Choice):
        value = ", ".join(f"`{choice}`" for choice in option.type.choices)
    else:
        value = f"`{option.make_metavar(context)}`"
        if isinstance(option.type, (click.IntRange, click.FloatRange)):
            value += f", {option.type._describe_range()}"
    default = option.get_default(context, call=False)
    if option.show_default and isinstance(default, (str, int, float)) and default != "":
        value += f"; default `{default}`"
    return (
        value + ("; may be repeated" if option.multiple else "") + ("; required" if option.required else "")
    )


# -- settings, events, exit codes ---------------------------------------------------------------------------


def _settings() -> str:
    rows = [
        (
            f"`{setting.key}`",
            ", ".join(f"`{choice}`" for choice in setting.choices) or setting.kind,
            f"`{text}`" if (text := value_text(setting.default)) else "unset",
            setting.help,
        )
        for setting in SETTINGS
    ]
    return _joined([
        "# Settings",
        NOTE,
        "Settings hold for the app and all commands, on this machine. `tuner-tui config list` shows them, "
        "`tuner-tui config path` where their file is.",
        _table(("key", "value", "default", "meaning"), rows),
    ])  # fmt: skip


def _events() -> str:
    parts = [
        "# Events",
        NOTE,
        "Each line of a run's `events.jsonl` is one JSON object, with its kind in `event` and its time in `at`, in "
        f"seconds since 1970. The protocol has version {events.PROTOCOL}. Readers skip unknown kinds and fields. "
        "`tuner-tui train --json` and `tuner-tui runs follow --json` print the same lines.",
    ]
    for kind in get_args(events.Event):
        parts += [f"## {kind.__struct_config__.tag}", _sentence(kind.__doc__), _table_of_fields(kind)]
    parts.append("## Records in events")
    for record in (events.ChosenMachine, plan.Choice, oom_fallback.Shape, oom_fallback.FallbackStep):
        parts += [f"### {record.__name__}", _sentence(record.__doc__), _table_of_fields(record)]
    return _joined([part for part in parts if part])


def _table_of_fields(kind: type[msgspec.Struct]) -> str:
    hints = typing.get_type_hints(kind)
    meanings = _field_docstrings(kind)
    rows = []
    for name, field in zip(kind.__struct_fields__, msgspec.structs.fields(kind), strict=True):
        if name == "at":
            continue
        is_needed = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        may_be_null = type(None) in get_args(hints[name])
        type_name = _type_name(hints[name]) + (" or null" if may_be_null else "")
        rows.append(
            (f"`{field.encode_name}`", type_name, "yes" if is_needed else "no", meanings.get(name, ""))
        )
    return _table(("field", "type", "always there", "meaning"), rows)


def _field_docstrings(kind: type[Any]) -> dict[str, str]:
    """The strings below the fields of a class, by field."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    return {
        before.target.id: " ".join(after.value.value.split())
        for before, after in itertools.pairwise(body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


def _exit_codes() -> str:
    pairs = re.findall(r"(\d+)  ?(\S(?:[^\n]*?\S)?)(?=\s{2,}|\n|$)", EXIT_CODES)
    rows = [(code, words) for code, words in sorted(pairs, key=lambda pair: int(pair[0]))]
    return _joined([
        "# Exit codes",
        NOTE,
        "Every command ends with one of these; errors are explained on stderr.",
        _table(("code", "meaning"), rows),
    ])  # fmt: skip


# -- Markdown -----------------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(_cell(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text outside of code, with what Markdown would take for HTML or emphasis escaped."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    """Write the pages, or with --check name those that are stale."""
    if "--check" in sys.argv[1:]:
        stale = stale_pages()
        print("\n".join(f"stale: docs/reference/{name}" for name in stale) or "up to date")
        return bool(stale)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

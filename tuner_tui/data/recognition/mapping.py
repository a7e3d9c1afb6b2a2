"""Columns mapped manually: lines such as `prompt = {question}\\n{context}` that say what is made of which columns."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.answer_columns import Answers, answer_columns
from tuner_tui.data.recognition.choices import chosen_by
from tuner_tui.data.recognition.columns import Columns
from tuner_tui.data.recognition.fields import as_turns, earlier_turns, side_of, text_of
from tuner_tui.data.recognition.layout import Layout, Shape
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.recognition.verdict_values import Scale
from tuner_tui.data.recognition.verdicts import stated_verdict
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.labels import label_reader
from tuner_tui.data.rows.turns import turns_of
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

PARTS = (
    "messages", "tools", "system", "user", "assistant", "prompt", "completion", "text", "chosen", "rejected", "label",
    "first", "second", "verdict", "reasoning", "chat_template_kwargs", "history",
)  # fmt: skip
BESIDE = frozenset({"system", "tools", "chat_template_kwargs"})
SHAPES_OF_PARTS: tuple[tuple[frozenset[str], frozenset[str], Shape], ...] = (
    (frozenset({"messages", "assistant"}), BESIDE | {"reasoning"}, "messages"),
    (frozenset({"messages"}), BESIDE, "messages"),
    (frozenset({"user", "assistant"}), BESIDE | {"reasoning", "history"}, "instruction"),
    (frozenset({"prompt", "completion", "label"}), BESIDE, "rated"),
    (frozenset({"prompt", "completion"}), BESIDE, "prompt_completion"),
    (frozenset({"chosen", "rejected"}), BESIDE | {"prompt"}, "preference"),
    (frozenset({"verdict"}), BESIDE | {"prompt", "first", "second"}, "preference"),
    (frozenset({"text"}), frozenset(), "text"),
    (frozenset({"prompt"}), BESIDE, "prompts"),
)
"""Which parts a shape needs, and which it may have."""
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_RULE = re.compile(r"^(\{[^{}]+\})\s*>\s*(-?[\d.]+)$")
_SCALE = re.compile(r"^\{([^{}]+)\}\s*([<>])\s*(-?\d+(?:\.\d+)?)$")
"""Numbers below (above) the limit are for the first answer; the limit itself is a tie."""


def parse_mapping(lines: tuple[str, ...]) -> dict[str, str]:
    """Template lines by part. Raises InputError that names the line and what it should be."""
    found: dict[str, str] = {}
    for line in lines:
        part, equals, template = line.partition("=")
        part, template = part.strip(), template.strip().replace("\\n", "\n")
        if not equals or part not in PARTS:
            raise InputError(
                "A mapping cannot be read",
                f"data.mapping: {line!r}: expected PART = TEMPLATE, with one of {', '.join(PARTS)} as the part.",
                "For example: prompt = {question}",
            )
        if not any(match[1] for match in _FIELD.finditer(template)):
            raise InputError(
                "A mapping names no column",
                f"data.mapping: {line!r}: a template holds at least one {{column}}.",
                f"For example: {part} = {{question}}",
            )
        found[part] = template
    shape_of_mapping(found)
    return found


def mapping_lines(mapping: dict[str, str]) -> tuple[str, ...]:
    """What `parse_mapping` reads, each on one line."""
    return tuple(f"{part} = {template.replace(chr(10), chr(92) + 'n')}" for part, template in mapping.items())


def states_verdict(lines: tuple[str, ...]) -> bool:
    """Whether lines say what a verdict means."""
    return any(line.partition("=")[0].strip() == "verdict" for line in lines)


def shape_of_mapping(mapping: dict[str, str]) -> Shape:
    """The shape that a mapping makes. Raises InputError when its parts make none."""
    parts = set(mapping)
    for needed, allowed, shape in SHAPES_OF_PARTS:
        if needed <= parts <= needed | allowed:
            return shape
    combinations = "; ".join(" and ".join(sorted(needed)) for needed, _, _ in SHAPES_OF_PARTS)
    raise InputError(
        "The mapping is incomplete",
        f"data.mapping has {', '.join(mapping) or 'no parts'}.",
        f"Parts that belong together: {combinations}.",
    )


def mapped_layout(mapping: dict[str, str], columns: Columns) -> Layout:
    """The layout that a mapping makes of a sample of rows. Raises InputError for columns that are not there."""
    shape = shape_of_mapping(mapping)
    for part, template in mapping.items():
        for name in _names(template):
            if columns.rows and name.split(".")[0] not in columns.names and name not in columns.names:
                raise InputError(
                    "A mapping names a column that is not there",
                    f"data.mapping: {part}: no column {name!r}; there are {', '.join(columns.names)}.",
                    "Column names are case-sensitive.",
                )
    if "verdict" in mapping:
        return _by_verdict(mapping, columns)
    label = _label(mapping, columns)
    limit = _RULE.match(mapping.get("label", ""))

    def convert(row: Row) -> Row:
        made: Row = {
            part: _filled(template, row, is_optional=part in (*BESIDE, "reasoning", "history"))
            for part, template in mapping.items()
            if part != "label"
        }
        if label is not None:
            value = _filled(limit[1] if limit else mapping["label"], row)
            made["label"] = label(value)
        return _plain_form(made, shape)

    used = {name for template in mapping.values() for name in _names(template)}
    columns_used = tuple(used | {name.split(".")[0] for name in used if name not in columns.names})
    return Layout(
        shape, "mapped manually", 1.0, "data.mapping says so", mapping, convert, columns_used, is_mapped=True
    )


def _by_verdict(mapping: dict[str, str], columns: Columns) -> Layout:
    """Pairs by a verdict that the person names, with the direction of its scale. Raises InputError."""
    template = mapping["verdict"]
    rule = _SCALE.match(template)
    if rule is None and _FIELD.fullmatch(template) is None:
        raise InputError(
            "A mapping cannot be read",
            f"data.mapping: verdict = {template}: expected a column, or a column and the middle of its scale.",
            "For example: verdict = {winner}, or verdict = {preference} < 0, which prefers the first answer below 0.",
        )
    sides = [part for part in ("first", "second") if part in mapping]
    if len(sides) == 1 or not all(_FIELD.fullmatch(mapping[part]) for part in sides):
        raise InputError(
            "A mapping is incomplete",
            f"data.mapping has {', '.join(f'{part} = {mapping[part]}' for part in sides)}.",
            "Map both first and second, each to one column, or none of them.",
        )
    column = rule[1] if rule else _names(template)[0]
    whole = {part: mapping[part] for part in ("prompt", *BESIDE) if part in mapping}
    named = {part: _names(mapping[part])[0] for part in sides}

    def derived(row: Row) -> Row:
        made = {part: _filled(text, row, is_optional=part in BESIDE) for part, text in whole.items()}
        made |= {name: _value(row, name) for name in (*named.values(), column)}
        return {**row, **made}

    sample = Columns(tuple(map(derived, columns.rows)))
    answers = answer_columns(sample)
    if sides and (answers is None or answers.names != tuple(named.values())):
        answers = Answers(tuple(named.values()), ("first", "second"), "ordinals")
    if answers is None:
        raise InputError(
            "A mapping gives no dataset type",
            f"data.mapping: no two columns are known to hold answers; there are {', '.join(columns.names)}.",
            "Map them: first = {COLUMN} and second = {COLUMN}; of a list in a column: {COLUMN.0} and {COLUMN.1}.",
        )
    scale = Scale(rule[2] == "<", float(rule[3])) if rule else None
    found = chosen_by(sample, answers, stated_verdict(sample, answers, column, scale))
    if found.problem is not None:
        raise InputError(found.problem.title, f"data.mapping: {found.problem.message}", found.problem.hint)
    compare = found.compare
    used = {name for text in mapping.values() for name in _names(text)}
    return replace(
        found,
        mapping=mapping,
        convert=lambda row: found.convert(derived(row)),
        compare=None if compare is None else lambda row: compare(derived(row)),
        used=tuple(dict.fromkeys((*used, *(name.split(".")[0] for name in used), *found.used))),
    )


def _label(mapping: dict[str, str], columns: Columns) -> Any:
    if "label" not in mapping:
        return None
    rule = _RULE.match(mapping["label"])
    if rule:
        limit = float(rule[2])
        return lambda value: _above(value, limit)
    [name, *_] = _names(mapping["label"])
    reader = label_reader(columns.values(name), name)
    if reader is None:
        raise InputError(
            "A column holds no labels",
            f"data.mapping: label: {name!r} is neither true/false nor a score.",
            "Name another column.",
        )
    return reader


def _above(value: Any, limit: float) -> bool:
    try:
        return float(value) > limit
    except (TypeError, ValueError) as error:
        raise RowFault("A label is not a number", f"{value!r} cannot be compared with {limit:g}.") from error


def _plain_form(made: Row, shape: Shape) -> Row:
    beside, thought = (
        SideColumns("system", "tools", "chat_template_kwargs"),
        SideColumns(thoughts="reasoning"),
    )
    given = {part: made.pop(part, None) for part in ("system", "tools", "chat_template_kwargs")}
    thoughts = thought.thought({"reasoning": made.pop("reasoning", None)})
    earlier = earlier_turns({"history": made.pop("history", None)}, "history")
    parts = {name: side_of(made, name) for name in made if name not in ("label", "text", "messages")}
    if "text" in made:
        return {"text": text_of(made, "text")}
    if shape in ("messages", "instruction"):
        turns = (
            turns_of(made["messages"], "messages") if "messages" in made else as_turns(parts["user"], "user")
        )
        if "assistant" in parts:
            answer = as_turns(parts["assistant"], "assistant")
            turns = [*earlier, *turns, *answer[:-1], {**thoughts, **answer[-1]}]
        return {"messages": beside.begin(given, turns)} | beside.beside(given)
    label = {"label": made["label"]} if "label" in made else {}
    if not any(isinstance(side, list) for side in parts.values()) and not beside.has_system(given):
        return parts | label | beside.beside_text(given)
    sides: Row = {
        name: as_turns(side, "user" if name == "prompt" else "assistant") for name, side in parts.items()
    }
    first = [name for name in ("prompt", "chosen", "rejected") if name in sides]
    for name in first[:1] if "prompt" in sides else first:
        sides[name] = beside.begin(given, sides[name])
    return sides | label | beside.beside(given)


def _names(template: str) -> list[str]:
    return [match[1] for match in _FIELD.finditer(template) if match[1]]


def _filled(template: str, row: Row, *, is_optional: bool = False) -> Any:
    """A template with a row's fields in it; a lone {column} gives its value as it is. Raises RowFault."""
    whole = _FIELD.fullmatch(template)
    if whole and whole[1]:
        value = _value(row, whole[1])
        if value is None and is_optional:
            return None
        if value is None:
            raise RowFault("A field is missing", f"the row has no `{whole[1]}`.")
        return value if isinstance(value, str | list | dict | bool | int | float) else str(value)

    def text(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        value = _value(row, match[1])
        return "" if value is None else value if isinstance(value, str) else str(value)

    return _FIELD.sub(text, template)


def _value(row: Row, name: str) -> Any:
    """A column's value, or what lies below it by a dotted path such as answers.text.0."""
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value

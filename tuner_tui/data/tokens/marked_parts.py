"""The parts of a conversation, each marked with words that occur nowhere else, so that they can be found again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tuner_tui.data.tokens.chat_template import REASONING_FIELDS

Turn = dict[str, Any]
CONTENT, THOUGHTS, CALLS, NAMES, TOOLS, KWARGS = (
    "content",
    "reasoning",
    "tool calls",
    "name",
    "tools",
    "kwargs",
)
PREFIX = "zq"
"""How a mark begins; the rest is digits, which stand for a number."""
MOST_MARKS = 40
"""Marked pieces of one text, which may be a document full of tags."""
_TAG = re.compile(r"(<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\])")
_THINKING = re.compile(r"think|reason|thought", re.IGNORECASE)
_NAMED_SCHEMAS = ("$defs", "definitions", "dependentSchemas", "patternProperties")
_LEFT_ALONE = ("type", "$ref", "required")
"""What templates branch on, or what repeats names."""


class Part(NamedTuple):
    """One part of a conversation, and the marks that stand for it."""

    place: int | None
    """The turn, counted from 0; None for what is no turn's."""
    kind: str
    marks: tuple[str, ...]
    """All of them are written where the part is."""
    text: str
    field: str = ""
    """Which field of the tools, or which name of chat_template_kwargs; empty for a tool's name and description."""
    group: int = 0
    """Which of the tools."""
    is_minor: bool = False

    @property
    def is_named(self) -> bool:
        """Whether it is a tool's name or description, without which the rest of it does not count."""
        return self.kind == TOOLS and not self.field

    def is_in(self, written: str) -> bool:
        """Whether all of it stands in a text."""
        return all(mark.removeprefix(PREFIX) in written for mark in self.marks)


class Marked(NamedTuple):
    """A conversation with marks in it, and its parts."""

    turns: list[Turn]
    tools: list[Any]
    template_kwargs: dict[str, Any]
    parts: list[Part]


class Piece(NamedTuple):
    """What stands between two tags of a text."""

    number: int
    """Its place among the pieces and the tags."""
    text: str
    is_thought: bool


def marked(turns: Sequence[Turn], tools: Sequence[Any], template_kwargs: Mapping[str, Any]) -> Marked:
    """A conversation with each part marked."""
    marks = _marks(repr((turns, tools, template_kwargs)))
    parts: list[Part] = []
    called = {_name_of(call) for turn in turns for call in turn.get("tool_calls") or ()}
    return Marked(
        [_marked_turn(turn, place, marks, parts, called) for place, turn in enumerate(turns)],
        [_marked_tool(tool, number, marks, parts) for number, tool in enumerate(tools)],
        {name: _marked_kwarg(value, name, marks, parts) for name, value in template_kwargs.items()},
        parts,
    )


def pieces_of(text: str, role: str) -> Iterator[Piece]:
    """What stands between the tags of a text; within tags of thinking it is the assistant's reasoning."""
    split = _TAG.split(text)
    for number in range(0, len(split), 2):
        piece = split[number]
        if not piece.strip() or number > 2 * MOST_MARKS:
            continue
        before, after = (split[at] if 0 <= at < len(split) else "" for at in (number - 1, number + 1))
        is_thought = role == "assistant" and (
            (bool(_THINKING.search(before)) and "/" not in before)
            or (bool(_THINKING.search(after)) and "/" in after)
        )
        yield Piece(number, piece, is_thought)


def tags_in(text: str) -> list[str]:
    """The first tags of a text, such as <think>, which templates may look for."""
    return [match[0] for match, _ in zip(_TAG.finditer(text), range(MOST_MARKS), strict=False)]


def says_nothing(value: Any) -> bool:
    """Whether a value stands for none."""
    return value is None or value in ("", [], {})


def has_words(value: Any) -> bool:
    """Whether a value holds a text of several words, which is something said, and no switch."""
    if isinstance(value, dict):
        return any(map(has_words, value.values()))
    if isinstance(value, list):
        return any(map(has_words, value))
    return isinstance(value, str) and len(value.split(None, 2)) > 1


def _marks(taken: str) -> Iterator[str]:
    """Words that occur nowhere else. Their digits alone do not either, to stand for numbers."""
    number = 7_310_007
    while True:
        number += 1
        if str(number) not in taken:
            yield f"{PREFIX}{number}"


def _name_of(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _marked_turn(turn: Turn, place: int, marks: Iterator[str], parts: list[Part], called: set[Any]) -> Turn:
    found = dict(turn)
    if isinstance(turn.get("content"), str):
        found["content"] = _marked_text(turn["content"], place, turn["role"], marks, parts)
    for name in REASONING_FIELDS:
        if isinstance(turn.get(name), str) and turn[name].strip():
            found[name], used = _enclosed(turn[name], marks)
            parts.append(Part(place, THOUGHTS, used, turn[name].strip()))
            break  # under several names it is the same
    if turn.get("tool_calls"):
        found["tool_calls"] = [_marked_call(call, place, marks, parts) for call in turn["tool_calls"]]
    speaker = turn.get("name")
    is_repeated = turn["role"] == "tool" and speaker in called  # a result's name is that of the call
    if isinstance(speaker, str) and speaker.strip() and not is_repeated:
        found["name"] = next(marks)
        parts.append(Part(place, NAMES, (found["name"],), speaker, is_minor=True))
    return found


def _enclosed(text: str, marks: Iterator[str]) -> tuple[str, tuple[str, ...]]:
    """A text with a mark before and behind its words, and the marks."""
    words = text.strip()
    begin = text.index(words)
    first, last = next(marks), next(marks)
    return f"{text[:begin]}{first} {words} {last}{text[begin + len(words) :]}", (first, last)


def _marked_text(text: str, place: int, role: str, marks: Iterator[str], parts: list[Part]) -> str:
    split = _TAG.split(text)
    for number, piece, is_thought in pieces_of(text, role):
        split[number], used = _enclosed(piece, marks)
        parts.append(Part(place, THOUGHTS if is_thought else CONTENT, used, piece.strip()))
    return "".join(split)


def _marked_call(call: Any, place: int, marks: Iterator[str], parts: list[Part]) -> Any:
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return call
    function = dict(call["function"])

    def add(text: str) -> str:
        mark = next(marks)
        parts.append(Part(place, CALLS, (mark,), text))
        return mark

    function["name"] = add(str(function.get("name", "")))
    arguments = function.get("arguments")
    if isinstance(arguments, str):  # as JSON, or not
        try:
            function["arguments"] = json.dumps(_marked_values(json.loads(arguments), add))
        except ValueError:
            function["arguments"] = add(arguments)
    else:
        function["arguments"] = _marked_values(arguments, add)
    return call | {"function": function}


def _marked_values(value: Any, add: Callable[[str], str]) -> Any:
    """A value of JSON with each text in it replaced by a mark, and each number by a mark's digits."""
    if isinstance(value, dict):
        return {name: _marked_values(each, add) for name, each in value.items()}
    if isinstance(value, list):
        return [_marked_values(each, add) for each in value]
    if isinstance(value, str) and value:
        return add(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(add(str(value)).removeprefix(PREFIX))
    return value


def _marked_tool(tool: Any, number: int, marks: Iterator[str], parts: list[Part]) -> Any:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(inner, dict):
        return tool

    def add(text: str, field: str, is_minor: bool) -> str:
        mark = next(marks)
        parts.append(Part(None, TOOLS, (mark,), text, field, number, is_minor))
        return mark

    found: dict[str, Any] = {}
    for key, value in inner.items():
        if key == "name" and isinstance(value, str) and value:
            found[key] = add(value, "", False)
        elif key == "description" and isinstance(value, str) and value:
            found[key] = f"{add(value, '', False)} {value}"
        elif (
            key == "parameters"
            and isinstance(value, dict)
            and not {"properties", "type", *_REFERS} & {*value}
        ):
            found[key] = _marked_names(value, add)  # names alone, without a schema around them
        else:
            found[key] = _marked_schema(value, key, add)
    if "function" not in tool:
        return found
    beside = {key: _marked_schema(value, key, add) for key, value in tool.items() if key != "function"}
    return beside | {"function": found}


_REFERS = ("$ref", "anyOf", "oneOf", "allOf")
_Add = Callable[[str, str, bool], str]
"""(text, field, whether it is a detail) -> its mark."""


def _marked_names(properties: dict[str, Any], add: _Add) -> dict[str, Any]:
    """Parameters by name, the names replaced by marks."""
    return {
        add(name, "parameters", False): _marked_schema(schema, name, add)
        if isinstance(schema, dict)
        else schema
        for name, schema in properties.items()
    }


def _marked_schema(value: Any, key: str, add: _Add) -> Any:
    """A JSON schema, or a value in one, with names of properties and what its keywords say marked."""
    if key in _LEFT_ALONE and not isinstance(value, dict):
        return value
    if isinstance(value, list):
        return [_marked_schema(each, key, add) for each in value]
    if isinstance(value, str) and value:
        return f"{add(value, f'`{key}`', True)} {value}" if " " in value else add(value, f"`{key}`", True)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(add(str(value), f"`{key}`", True).removeprefix(PREFIX))
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    for name, each in value.items():
        if name == "properties" and isinstance(each, dict):
            found[name] = _marked_names(each, add)
            renamed = dict(zip(each, found[name], strict=True))
        elif name in _NAMED_SCHEMAS and isinstance(each, dict):
            found[name] = {key: _marked_schema(schema, name, add) for key, schema in each.items()}
        else:
            found[name] = _marked_schema(each, name, add)
    if isinstance(found.get("required"), list):
        found["required"] = [
            renamed.get(name, name) if isinstance(name, str) else name for name in found["required"]
        ]
    return found


def _marked_kwarg(value: Any, name: str, marks: Iterator[str], parts: list[Part]) -> Any:
    """What else a row hands to the template, with its texts of several words marked; single words are switches."""
    if isinstance(value, dict):
        return {key: _marked_kwarg(each, name, marks, parts) for key, each in value.items()}
    if isinstance(value, list):
        return [_marked_kwarg(each, name, marks, parts) for each in value]
    if not isinstance(value, str) or not has_words(value):
        return value
    text, used = _enclosed(value, marks)
    parts.append(Part(None, KWARGS, used, value.strip(), name))
    return text

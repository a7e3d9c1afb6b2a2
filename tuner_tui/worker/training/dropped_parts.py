"""What a row says, part by part, against what the chat template writes of it.

A part that is written may be hidden in an escape or a quotation, and one that is not may stand elsewhere by chance
("Oslo" of a call that is dropped stands in the question, too). So each part is marked with words that occur nowhere
else, and the marks are looked for in what the template writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tuner_tui.data.tokens.chat_template import REASONING_FIELDS
from tuner_tui.errors import InputError
from tuner_tui.limited.limits import LimitReached

Turn = dict[str, Any]
Render = Callable[[Sequence[Turn], Sequence[Any]], str]
"""(turns, tools) -> what the template writes. Raises InputError where it refuses them."""
THOUGHTS, CALLS, TOOLS = "thoughts", "tool calls", "tools"
PREFIX = "zq"
"""How a mark begins; the rest is digits, which stand for a number."""
MOST_MARKS = 40
"""Marks in one text, which may be a document full of tags."""
_TAG = re.compile(r"(<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\])")
_THINKING = re.compile(r"think|reason|thought", re.IGNORECASE)


class Dropped(NamedTuple):
    """A part of a conversation that the template leaves out."""

    place: int | None
    """The turn, counted from 0; None for the tools."""
    what: str
    """In words, such as "what the user says" or "the assistant's thoughts"."""


class _Part(NamedTuple):
    """One part of a turn, and the text that stands for it."""

    place: int | None
    kind: str
    mark: str
    text: str


def dropped_parts(
    turns: Sequence[Turn],
    tools: Sequence[Any],
    render: Render,
    *,
    first_answer: int = 0,
    one_by_one: bool = True,
) -> list[Dropped]:
    """What the template writes nowhere, in the order of the turns.

    Templates of thinking models leave out the thoughts of earlier turns: of the answers from `first_answer` on, and
    with `one_by_one`, these are looked for where each answer is the last turn; before, they are context, of which the
    model sees no thoughts either.
    """
    marked, marked_tools, parts = _marked(turns, tools)
    missing = _missing(parts, turns, tools, marked, marked_tools, render, None)
    dropped = [
        part
        for part in missing
        if part.kind != THOUGHTS
        or (
            _carries_loss(turns, part, first_answer)
            and not (
                one_by_one
                and not _missing([part], turns, tools, marked, marked_tools, render, (part.place or 0) + 1)
            )
        )
    ]
    found = [Dropped(part.place, _words(part, turns)) for part in dropped]
    return [each for place, each in enumerate(found) if each not in found[:place]]


def _carries_loss(turns: Sequence[Turn], part: _Part, first_answer: int) -> bool:
    return part.place is None or (part.place >= first_answer and turns[part.place].get("weight") != 0)


def _missing(
    parts: Sequence[_Part],
    turns: Sequence[Turn],
    tools: Sequence[Any],
    marked: Sequence[Turn],
    marked_tools: Sequence[Any],
    render: Render,
    end: int | None,
) -> list[_Part]:
    """The parts that are not in what the template writes of the turns before `end`."""
    try:
        text = render(marked[:end], marked_tools)
    except LimitReached:
        raise
    except InputError:  # it looks into what the turns say: their own words are looked for
        text = render(turns[:end], tools)
        return [part for part in parts if not _is_written(part.text, text)]
    return [part for part in parts if part.mark.removeprefix(PREFIX) not in text]


def _is_written(part: str, text: str) -> bool:
    forms = (part, *(json.dumps(part, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)))
    return any(form in text for form in forms)


def _words(part: _Part, turns: Sequence[Turn]) -> str:
    if part.place is None:
        return "the tools"
    role = turns[part.place]["role"]
    return f"what the {role} says" if part.kind == "content" else f"the {role}'s {part.kind}"


def _marked(turns: Sequence[Turn], tools: Sequence[Any]) -> tuple[list[Turn], list[Any], list[_Part]]:
    """(turns, tools) with each part marked, and the parts."""
    marks = _marks(repr(turns) + repr(tools))
    parts: list[_Part] = []
    marked = [_marked_turn(turn, place, marks, parts) for place, turn in enumerate(turns)]
    return marked, [_marked_tool(tool, marks, parts) for tool in tools], parts


def _marks(taken: str) -> Iterator[str]:
    """Words that occur nowhere else. Their digits alone do not either, to stand for numbers."""
    number = 7_310_007
    while True:
        number += 1
        if str(number) not in taken:
            yield f"{PREFIX}{number}"


def _marked_turn(turn: Turn, place: int, marks: Iterator[str], parts: list[_Part]) -> Turn:
    found = dict(turn)
    if isinstance(turn.get("content"), str):
        found["content"] = _marked_text(turn["content"], place, turn["role"], marks, parts)
    for name in REASONING_FIELDS:
        if isinstance(turn.get(name), str) and turn[name].strip():
            mark = next(marks)
            found[name] = f"{mark} {turn[name]}"
            parts.append(_Part(place, THOUGHTS, mark, turn[name].strip()))
            break  # under several names it is the same
    if turn.get("tool_calls"):
        found["tool_calls"] = [_marked_call(call, place, marks, parts) for call in turn["tool_calls"]]
    return found


def _marked_text(text: str, place: int, role: str, marks: Iterator[str], parts: list[_Part]) -> str:
    """A text with a mark in each piece between its tags; what stands within tags of thinking is a thought."""
    pieces = _TAG.split(text)
    for number in range(0, len(pieces), 2):
        piece = pieces[number]
        if not piece.strip() or number > 2 * MOST_MARKS:
            continue
        before, after = (pieces[at] if 0 <= at < len(pieces) else "" for at in (number - 1, number + 1))
        is_thought = role == "assistant" and (
            (bool(_THINKING.search(before)) and "/" not in before)
            or (bool(_THINKING.search(after)) and "/" in after)
        )
        mark = next(marks)
        begin = len(piece) - len(piece.lstrip())
        pieces[number] = f"{piece[:begin]}{mark} {piece[begin:]}"
        parts.append(_Part(place, THOUGHTS if is_thought else "content", mark, piece.strip()))
    return "".join(pieces)


def _marked_call(call: Any, place: int, marks: Iterator[str], parts: list[_Part]) -> Any:
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return call
    function = dict(call["function"])

    def add(text: str) -> str:
        mark = next(marks)
        parts.append(_Part(place, CALLS, mark, text))
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


def _marked_tool(tool: Any, marks: Iterator[str], parts: list[_Part]) -> Any:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(inner, dict):
        return tool
    found = dict(inner)
    for name in ("name", "description"):
        if isinstance(inner.get(name), str) and inner[name]:
            mark = next(marks)
            found[name] = mark if name == "name" else f"{mark} {inner[name]}"
            parts.append(_Part(None, TOOLS, mark, inner[name]))
    return tool | {"function": found} if "function" in tool else found

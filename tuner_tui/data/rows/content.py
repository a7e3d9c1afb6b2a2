"""What a row in plain form says: its texts, its answers, and a key that equal rows share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

Row = dict[str, Any]
PARTS = ("messages", "prompt", "completion", "text", "chosen", "rejected")
FINISHED = ("chosen_finished", "rejected_finished", "completion_finished")
"""False in one of these: that answer was truncated when it was generated."""


def unfinished_sides(row: Row) -> Row:
    """The fields that say that an answer was truncated, whatever the row's format."""
    return {name: False for name in FINISHED if row.get(name) is False}


def said(turn: dict[str, Any]) -> tuple[Any, ...]:
    """What a turn says, comparable: role, content, thoughts, calls and whose result it is; numbers of calls apart."""
    spoken = (turn["role"], turn["content"].strip())
    if len(turn) == 2:
        return spoken
    calls = tuple(_call_key(call) for call in turn.get("tool_calls") or ())
    thoughts = (turn.get("reasoning_content") or "").strip()
    more = (thoughts, calls, turn.get("name") or "", turn.get("weight") == 0)
    return spoken + more if any(more) else spoken


def _call_key(call: dict[str, Any]) -> tuple[str, bytes]:
    function = call["function"]
    return function["name"], canonical(function["arguments"])


def canonical(value: Any) -> bytes:
    """A value as JSON with its names in order, so that equal values have equal bytes."""
    try:
        return msgspec.json.encode(value, order="deterministic", enc_hook=str)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return repr(value).encode("utf-8", "replace")


def turn_texts(turn: dict[str, Any]) -> list[str]:
    """Every text of a turn: thoughts, content, and calls as JSON."""
    if len(turn) == 2:
        return [turn["content"]]
    texts = [turn.get("reasoning_content") or "", turn["content"]]
    texts += [call_text(call) for call in turn.get("tool_calls") or ()]
    return [text for text in texts if text] or [""]


def turn_title(turn: dict[str, Any]) -> str:
    """Who speaks, and that it is not trained where a turn is marked so."""
    return f"{turn['role']}{' (not trained)' if turn.get('weight') == 0 else ''}"


def call_text(call: dict[str, Any]) -> str:
    """A call as one line: the tool's name and its arguments."""
    function = call["function"]
    arguments = function["arguments"]
    written = (
        arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    )
    return f"{function['name']}({written})"


def texts_of(row: Row) -> list[str]:
    """Every text of a row."""
    found: list[str] = []
    for part in PARTS:
        value = row.get(part)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            for turn in value:
                found += turn_texts(turn)
    return found


def answers_of(row: Row) -> list[str]:
    """The texts of a row that are trained on: the assistant's turns, or what follows a prompt."""
    found: list[str] = []
    for part in ("messages", "completion", "chosen", "rejected", "text"):
        value = row.get(part)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [
                _answer(turn) for turn in value if turn["role"] == "assistant" and turn.get("weight") != 0
            ]
    return found


def _answer(turn: dict[str, Any]) -> str:
    return str(turn["content"]) or ("(tool call)" if turn.get("tool_calls") else "")


def is_empty(row: Row) -> bool:
    """Whether a row lacks an answer, or one of its answers is only whitespace."""
    answers = answers_of(row)
    if "prompt" in row and not any(part in row for part in ("completion", "chosen", "rejected")):
        return not any(text.strip() for text in texts_of(row))
    return not answers or not all(answer.strip() for answer in answers)


def has_marked_side(row: Row) -> bool:
    """Whether a rated answer or a side of a pair has a turn marked as not to be trained, which is refused by name."""
    names = ("completion",) if "label" in row else ("chosen", "rejected")
    sides = (row.get(side) for side in names)
    return any(
        turn.get("weight") == 0 and turn["role"] == "assistant"
        for side in sides
        if isinstance(side, list)
        for turn in side
    )


def says_same(row: Row) -> bool:
    """Whether both sides of a pair say the same."""
    if "chosen" not in row:
        return False
    return side_said(row["chosen"]) == side_said(row["rejected"])


def side_said(side: Any) -> list[Any]:
    """What a side of a pair says, comparable: text, or turns in plain form."""
    return [side.strip()] if isinstance(side, str) else [said(turn) for turn in side]


def asked_and_answers(row: Row) -> tuple[Any, list[Any]]:
    """(prompt, the answers to it) of a row with answers apart; sides of turns lose the prompt that they repeat.

    Without a prompt, the turns that both sides of a pair begin with are it, and of a rated answer all but the last.
    """
    answers = [row[side] for side in ("completion", "chosen", "rejected") if side in row]
    prompt = row.get("prompt")
    if prompt is None and answers and all(isinstance(answer, list) for answer in answers):
        first = answers[0]
        shared = min(len(answer) for answer in answers) - 1
        if len(answers) > 1:
            spoken = [[said(turn) for turn in answer[:shared]] for answer in answers]
            shared = next((n for n in range(shared) if spoken[0][n] != spoken[1][n]), shared)
        prompt = first[:shared]
    if isinstance(prompt, list):
        answers = [_without(prompt, answer) if isinstance(answer, list) else answer for answer in answers]
    return prompt, answers


def _without(prompt: list[dict[str, Any]], side: list[dict[str, Any]]) -> list[dict[str, Any]]:
    asked, answered = [said(turn) for turn in prompt], [said(turn) for turn in side]
    repeats = next((n for n in range(len(asked), 0, -1) if answered[:n] == asked[len(asked) - n :]), 0)
    return side[repeats:]


def content_key(row: Row) -> int:
    """A 64-bit hash that rows saying the same share, within one process."""
    return hash(tuple(_plain_parts(row) if len(row) == 1 and "messages" in row else _hashed(row)))


def _plain_parts(row: Row) -> list[Any]:
    """What `_hashed` gives for a conversation alone, which is by far the commonest row."""
    parts: list[Any] = ["messages"]
    for turn in row["messages"]:
        parts += (turn["role"], turn["content"])
        if len(turn) > 2:
            parts.append(said(turn))
    return parts


def prompt_key(row: Row) -> int:
    """A 64-bit hash of the prompt, within one process."""
    return hash(prompt_text(row))


def prompt_text(row: Row) -> str:
    """What stands before the first answer, as one text."""
    if isinstance(row.get("prompt"), str):
        return str(row["prompt"])
    turns = row.get("prompt") or row.get("messages") or row.get("chosen")
    if isinstance(turns, list):
        before: list[str] = []
        for turn in turns:
            if turn["role"] == "assistant":
                break
            before.append(f"{turn['role']}: {turn['content']}")
        return "\n".join(before)
    return str(row.get("text", ""))


def _hashed(row: Row) -> Iterator[Any]:
    for part in PARTS:
        value = row.get(part)
        if isinstance(value, str):
            yield part
            yield value
        elif isinstance(value, list):
            yield part
            for turn in value:
                yield turn["role"]
                yield turn["content"]
                if len(turn) > 2:
                    yield said(turn)
    for part in ("label", "tools", "chat_template_kwargs"):
        if part in row:
            yield row[part] if part == "label" else canonical(row[part])

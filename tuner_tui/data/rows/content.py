"""What a row in plain form says: its texts, its answers, and a key that equal rows share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
PARTS = ("messages", "prompt", "completion", "text", "chosen", "rejected")
FINISHED = ("chosen_finished", "rejected_finished", "completion_finished")
"""False in one of these: that answer was truncated when it was generated."""


def unfinished_sides(row: Row) -> Row:
    """The fields that say that an answer was truncated, whatever the row's format."""
    return {name: False for name in FINISHED if row.get(name) is False}


def texts_of(row: Row) -> list[str]:
    """Every text of a row."""
    found: list[str] = []
    for part in PARTS:
        value = row.get(part)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [turn["content"] for turn in value]
    return found


def answers_of(row: Row) -> list[str]:
    """The texts of a row that are trained on: the assistant's turns, or what follows a prompt."""
    found: list[str] = []
    for part in ("messages", "completion", "chosen", "rejected", "text"):
        value = row.get(part)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [_answer(turn) for turn in value if turn["role"] == "assistant"]
    return found


def _answer(turn: dict[str, Any]) -> str:
    return str(turn["content"]) or ("(tool call)" if turn.get("tool_calls") else "")


def is_empty(row: Row) -> bool:
    """Whether a row lacks an answer, or one of its answers is only white space."""
    answers = answers_of(row)
    if "prompt" in row and len(row) == 1:
        return not any(text.strip() for text in texts_of(row))
    return not answers or not all(answer.strip() for answer in answers)


def says_same(row: Row) -> bool:
    """Whether both sides of a pair say the same."""
    if "chosen" not in row:
        return False
    sides = [_spoken(row[side]) for side in ("chosen", "rejected")]
    return sides[0] == sides[1]


def _spoken(side: Any) -> list[str]:
    return [side.strip()] if isinstance(side, str) else [turn["content"].strip() for turn in side]


def content_key(row: Row) -> int:
    """A 64-bit hash that rows saying the same share, within one process."""
    return hash(tuple(_hashed(row)))


def turns_key(turns: list[dict[str, Any]]) -> int:
    """The `content_key` of a row that is turns alone."""
    parts: list[Any] = ["messages"]
    for turn in turns:
        parts += (turn["role"], turn["content"])
        if len(turn) > 2 and turn.get("tool_calls"):
            parts.append(repr(turn["tool_calls"]))
    return hash(tuple(parts))


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
                if turn.get("tool_calls"):
                    yield repr(turn["tool_calls"])
    if "label" in row:
        yield row["label"]

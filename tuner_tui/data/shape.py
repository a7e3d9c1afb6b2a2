"""Recognising what the rows of a data set are, and reading each as prompt and answer or as plain text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from tuner_tui.data.read import Row, read_rows
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import DataShape

Shape = Literal["messages", "instruction", "prompt_completion", "text"]
Role = Literal["system", "user", "assistant", "tool"]

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
QUESTION_FIELDS = ("instruction", "question", "query")
ANSWER_FIELDS = ("output", "response", "answer")
SHAPES_HELP = (
    "Rows need `messages`; or `instruction`/`question` with `output`/`answer`; or `prompt` with `completion`; "
    "or `text`."
)


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Example:
    """One row as a method sees it: turns for the chat template, or text as it stands."""

    line: int
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    text: str = ""
    """The completion after `prompt`, or the whole of a plain text."""


def recognise(row: Row) -> Shape | None:
    """The shape of a row, or None when it has none of those known."""
    if isinstance(row.get("messages", row.get("conversations")), list):
        return "messages"
    if "prompt" in row and "completion" in row:
        return "prompt_completion"
    if _first(row, QUESTION_FIELDS) and _first(row, ANSWER_FIELDS):
        return "instruction"
    if "text" in row:
        return "text"
    return None


def read_examples(
    path: Path, asked: DataShape = "auto", limit: int | None = None
) -> tuple[Shape, list[Example]]:
    """All rows of a file in one shape.

    Raises InputError that names file and line for an empty file, unknown columns and fields that are not text.
    """
    shape: Shape | None = None if asked == "auto" else asked
    examples = []
    for number, row in read_rows(path, limit):
        if shape is None:
            shape = recognise(row)
            if shape is None:
                raise _wrong_columns(path, number, row)
        examples.append(_READERS[shape](row, path, number))
    if shape is None or not examples:
        raise InputError("The data file is empty", f"{path} holds no rows.", SHAPES_HELP)
    return shape, examples


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in row), None)


def _text(row: Row, name: str, path: Path, number: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        found = "it is missing" if name not in row else f"it is {type(value).__name__}"
        raise InputError("A field is not text", f"{path}:{number}: `{name}` must be text, but {found}.")
    return value


def _wrong_columns(path: Path, number: int, row: Row) -> InputError:
    names = ", ".join(list(row)[:8]) or "none"
    return InputError(
        "The columns are not known", f"{path}:{number}: the row's fields are: {names}.", SHAPES_HELP
    )


def _read_messages(row: Row, path: Path, number: int) -> Example:
    turns = row.get("messages", row.get("conversations"))
    if not isinstance(turns, list) or not turns:
        raise InputError(
            "A row has no turns", f"{path}:{number}: `messages` must be a list of turns.", SHAPES_HELP
        )
    messages = []
    for position, turn in enumerate(turns):
        where = f"{path}:{number}: messages[{position}]"
        if not isinstance(turn, dict):
            raise InputError("A turn is not an object", f"{where} must have `role` and `content`.")
        name, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        role = ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            raise InputError("A turn's role is not known", f"{where}: {name!r}; known: {', '.join(ROLES)}.")
        if not isinstance(content, str):
            raise InputError(
                "A turn's content is not text", f"{where}: `content` is {type(content).__name__}."
            )
        messages.append(Message(role, content))
    if not any(message.role == "assistant" for message in messages):
        raise InputError("A row has no answer", f"{path}:{number}: no turn has the role assistant.")
    return Example(number, messages=tuple(messages))


def _read_instruction(row: Row, path: Path, number: int) -> Example:
    question, answer = _first(row, QUESTION_FIELDS), _first(row, ANSWER_FIELDS)
    if question is None or answer is None:
        raise _wrong_columns(path, number, row)
    asked = _text(row, question, path, number)
    more = row.get("input")
    if isinstance(more, str) and more.strip():
        asked = f"{asked}\n\n{more}"
    turns = [Message("user", asked), Message("assistant", _text(row, answer, path, number))]
    if isinstance(row.get("system"), str) and row["system"].strip():
        turns.insert(0, Message("system", row["system"]))
    return Example(number, messages=tuple(turns))


def _read_prompt_completion(row: Row, path: Path, number: int) -> Example:
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        return _read_messages({"messages": [*prompt, *completion]}, path, number)
    return Example(
        number, prompt=_text(row, "prompt", path, number), text=_text(row, "completion", path, number)
    )


def _read_text(row: Row, path: Path, number: int) -> Example:
    return Example(number, text=_text(row, "text", path, number))


_READERS: dict[Shape, Callable[[Row, Path, int], Example]] = {
    "messages": _read_messages,
    "instruction": _read_instruction,
    "prompt_completion": _read_prompt_completion,
    "text": _read_text,
}

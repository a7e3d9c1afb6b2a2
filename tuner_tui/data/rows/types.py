"""Rows as methods see them: prompt and answer, turns, or plain text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.recognition.columns import Columns
from tuner_tui.data.recognition.formats import SURE_ENOUGH, Shape, layouts_of
from tuner_tui.data.recognition.reading import SHAPES_HELP, Reading, no_rows_left, plain_rows
from tuner_tui.data.rows.content import said, turn_texts
from tuner_tui.data.rows.flags import OF_PROMPT
from tuner_tui.data.rows.roles import ROLES, Role
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.config.spec import DataShape
    from tuner_tui.data.files.json_rows import Row

__all__ = [
    "ROLES", "SHAPES_HELP", "Example", "Message", "Role", "Shape", "example_of", "message_of", "read_examples",
    "recognise",
]  # fmt: skip


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str
    extra: dict[str, Any] | None = None
    """What else a template may take: tool_calls, name, tool_call_id, reasoning_content; `weight` 0: not trained."""

    @property
    def turn(self) -> dict[str, Any]:
        """As chat templates take it."""
        return {"role": self.role, "content": self.content, **(self.extra or {})}

    @property
    def said(self) -> tuple[Any, ...]:
        """What it says, comparable."""
        return said(self.turn)

    @property
    def is_trained(self) -> bool:
        """Whether it is an answer that is not marked as not to be trained."""
        return self.role == "assistant" and (self.extra or {}).get("weight") != 0

    @property
    def texts(self) -> list[str]:
        """All that it says: thoughts, content, calls."""
        return turn_texts(self.turn)


class Example(msgspec.Struct, frozen=True):
    """One row as a method sees it: turns for the chat template, or text as it stands."""

    line: int
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    text: str = ""
    """The completion after `prompt`, or all of a plain text."""
    tools: tuple[Any, ...] = ()
    """What the assistant may call, as the template takes it."""
    template_kwargs: dict[str, Any] | None = None
    """What else the row hands to the template, by name."""


def recognise(row: Row) -> Shape | None:
    """The shape of a row, or None when it has none of those known."""
    likeliest = next(iter(layouts_of(Columns((row,)))), None)
    return likeliest.shape if likeliest and likeliest.confidence >= SURE_ENOUGH else None


def read_examples(
    data: Path | Reading, asked: DataShape = "auto", limit: int | None = None
) -> tuple[Shape, list[Example]]:
    """All rows of an SFT data set, of one dataset type.

    Raises InputError that names file and line for an empty file, unknown columns and fields that are not text; and for
    pairs, unpaired preferences and lone prompts, which are for other methods.
    """
    reading = data if isinstance(data, Reading) else Reading(data, asked, limit)
    shape, rows = iterate_examples(reading)
    examples = list(rows)
    if not examples:
        raise no_rows_left(reading)
    return shape, examples


def iterate_examples(reading: Reading) -> tuple[Shape, Iterator[Example]]:
    """The rows one by one, as `read_examples` gives them; raises as it does, for a row when that is reached."""
    plain = plain_rows(reading)
    if plain.layout.shape in ("preference", "rated", "prompts"):
        raise InputError(
            "The dataset type does not fit",
            f"{reading.path}: {plain.layout.shape} ({plain.layout.reason}), which this method does not train on.",
            "Use a method for this type, or map the columns to train on with data.mapping.",
        )
    return plain.layout.shape, (example_of(row, file, number) for file, number, row in plain.strict())


def example_of(row: Row, file: Path, number: int) -> Example:
    """A row in plain form as an example. Raises InputError as `turns_with_answer` does."""
    if "text" in row:
        return Example(number, text=row["text"])
    if (turns := turns_with_answer(row, file, number)) is None:
        return Example(number, prompt=row["prompt"], text=row["completion"])
    return Example(
        number, messages=tuple(map(message_of, turns)), tools=tools_in(row), template_kwargs=kwargs_in(row)
    )


def turns_with_answer(row: Row, file: Path, number: int) -> list[dict[str, Any]] | None:
    """The turns that an example is made of; None for a row of text. Raises InputError for turns without an answer.

    This is all that training refuses in a row of these types.
    """
    if "messages" in row:
        turns: list[dict[str, Any]] = row["messages"]
    elif "text" in row or isinstance(row["prompt"], str):
        return None
    else:  # of a prompt nothing is an answer, not even what the assistant said in it
        turns = [*map(untrained, row["prompt"]), *row["completion"]]
    is_answered = bool(turns) and turns[-1]["role"] == "assistant"
    if not is_answered and not any(turn["role"] == "assistant" for turn in turns):
        raise InputError("A row has no answer", f"{file}:{number}: no turn has the role assistant.")
    return turns


def untrained(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn that is only context where answers are trained; with loss on all tokens it has loss, as in TRL."""
    if turn["role"] != "assistant" or turn.get("weight") == 0:
        return turn
    return {**turn, "weight": 0, OF_PROMPT: True}


def tools_in(row: Row) -> tuple[Any, ...]:
    """What the assistant may call in a row in plain form."""
    return tuple(row.get("tools") or ())


def kwargs_in(row: Row) -> dict[str, Any] | None:
    """What else a row in plain form hands to the template."""
    return row.get("chat_template_kwargs") or None


def message_of(turn: dict[str, Any]) -> Message:
    """A turn in plain form as a message."""
    if len(turn) == 2:
        return Message(turn["role"], turn["content"])
    extra = {key: value for key, value in turn.items() if key not in ("role", "content")}
    return Message(turn["role"], turn["content"], extra or None)

"""Recognising rows and reading each as turns or text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.data.rows.types import Example, Message, read_examples, recognise
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"messages": TURNS}, "messages"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "messages"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "prompts"),
        ({"prompt": "q", "completion": "a"}, "prompt_completion"),
        ({"instruction": "q", "input": "", "output": "a"}, "instruction"),
        ({"question": "q", "answer": "a"}, "instruction"),
        ({"query": "q", "response": "a"}, "instruction"),
        ({"text": "t"}, "text"),
        ({"text": 3}, "text"),  # so that the complaint is about its type
        ({"question": "q"}, "prompts"),
        ({"messages": "not a list"}, None),
        ({}, None),
    ],
)
def test_shapes_are_recognised(row: dict[str, Any], shape: str | None) -> None:
    assert recognise(row) == shape


def turns_of(path: Path) -> list[tuple[str, str]]:
    _, [example] = read_examples(path)
    return [(message.role, message.content) for message in example.messages]


def test_messages_of_either_dialect_become_turns(rows: Path) -> None:
    expected = [("system", "s"), ("user", "q"), ("assistant", "a")]
    openai = [{"role": "developer", "content": "s"}, *TURNS]
    sharegpt = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
    ]
    assert turns_of(write(rows, {"messages": openai})) == expected
    assert turns_of(write(rows, {"conversations": sharegpt})) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "q", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": " ", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": "i", "output": "a"}, [("user", "q\n\ni"), ("assistant", "a")]),
        (
            {"system": "s", "question": "q", "answer": "a"},
            [("system", "s"), ("user", "q"), ("assistant", "a")],
        ),
    ],
)
def test_instructions_become_turns(rows: Path, row: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert turns_of(write(rows, row)) == expected


def test_prompts_and_completions_stay_text_or_become_turns(rows: Path) -> None:
    shape, examples = read_examples(
        write(rows, {"prompt": "p", "completion": "c"}, {"prompt": TURNS[:1], "completion": TURNS[1:]})
    )
    assert shape == "prompt_completion"
    assert examples == [
        Example(1, prompt="p", text="c"),
        Example(2, messages=(Message("user", "q"), Message("assistant", "a"))),
    ]


def test_text_is_read_as_it_stands(rows: Path) -> None:
    assert read_examples(write(rows, {"text": "  t\n"})) == ("text", [Example(1, text="  t\n")])


def test_an_asked_shape_wins_over_the_first_row(rows: Path) -> None:
    path = write(rows, {"text": "t", "question": "q", "answer": "a"})
    assert read_examples(path)[0] == "instruction"
    assert read_examples(path, "text")[0] == "text"


@pytest.mark.parametrize(
    ("shape", "bad", "complaint"),
    [
        ("instruction", {"question": "q", "answer": True}, "`answer` must be text, but it is of type bool"),
        ("instruction", {"question": "q"}, "The row has no field `answer`"),
        ("messages", {"messages": []}, "must be a list of turns"),
        ("messages", {"messages": 5}, "must be a list of turns"),
        ("messages", {"messages": [{"content": "hello"}]}, "messages[0]: None"),
        ("messages", {"messages": [5]}, "messages[0] must have `role` and `content`"),
        ("messages", {"messages": [{"role": "narrator", "content": "x"}]}, "messages[0]: 'narrator'"),
        (
            "messages",
            {"messages": [TURNS[0], {"role": "assistant", "content": None}]},
            "messages[1]: `content` is null",
        ),
        (
            "messages",
            {"messages": [TURNS[0], {"role": "user", "content": [{"type": "image"}]}]},
            "holds 'image'",
        ),
        ("messages", {"messages": TURNS[:1]}, "no turn has the role assistant"),
        ("text", {"text": 3}, "`text` must be text, but it is of type int"),
        (
            "prompt_completion",
            {"prompt": "p", "completion": None},
            "`completion` must be text, but it is empty (null)",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    rows: Path, shape: Any, bad: dict[str, Any], complaint: str
) -> None:
    good = {"messages": TURNS, "question": "q", "answer": "a", "prompt": "p", "completion": "c", "text": "t"}
    with pytest.raises(InputError) as caught:
        read_examples(write(rows, good, bad), shape)
    assert caught.value.message.startswith(f"{rows}:2: ")
    assert complaint in caught.value.message


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_an_error(rows: Path, text: str) -> None:
    rows.write_text(text)
    with pytest.raises(InputError, match="has no rows"):
        read_examples(rows)


def test_unknown_columns_are_listed(rows: Path) -> None:
    with pytest.raises(InputError, match="fields are: left, right"):
        read_examples(write(rows, {"left": 1, "right": 2}))

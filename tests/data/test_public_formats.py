"""Rows as public data sets and services write them: what each says is read, refused in words, or named as not used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.data.test_cases import TOOL, plain, reading, said, talk, user
from tuner_tui.data.checking.checks import check
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
XLAM_TOOL = {"name": "weather", "description": "d", "parameters": {"city": {"type": "str"}}}


@pytest.mark.parametrize("call", ["functionCall", "function_call"])
@pytest.mark.parametrize("result", ["functionResponse", "function_response"])
def test_parts_of_gemini_in_both_spellings(tmp_path: Path, call: str, result: str) -> None:
    turns = [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{call: {"name": "weather", "args": {"city": "Oslo"}}}]},
        {"role": "user", "parts": [{result: {"name": "weather", "response": {"degrees": 3}}}]},
        {"role": "model", "parts": [{"text": "a"}]},
    ]
    [row] = plain(reading(tmp_path, {"contents": turns}))
    assert talk(row) == [
        "user: q",
        "assistant: weather{'city': 'Oslo'}",
        'tool: {"degrees": 3}',
        "assistant: a",
    ]


def test_a_refusal_beside_an_empty_content_is_the_answer(tmp_path: Path) -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I cannot."}
    where = reading(tmp_path, {"messages": [user(), refused]})
    assert talk(plain(where)[0])[-1] == "assistant: I cannot."
    assert check(where).unused_fields == ()
    both = reading(tmp_path, {"messages": [user(), {**refused, "content": "a"}]})
    assert check(both).unused_fields == ("messages[].refusal",)


def test_items_of_responses_that_are_messages_have_nothing_unused(tmp_path: Path) -> None:
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
    where = reading(tmp_path, {"messages": [{"type": "message", **user()}, answer]})
    assert talk(plain(where)[0]) == ["user: q", "assistant: a"]
    assert check(where).unused_fields == ()


@pytest.mark.parametrize("write", [json.dumps, str])
def test_parts_written_as_text_are_parts(tmp_path: Path, write: Any) -> None:
    parts = [{"type": "text", "text": "What"}, {"type": "text", "text": " now?"}]
    [row] = plain(reading(tmp_path, {"messages": [user(write(parts)), said()]}))
    assert talk(row) == ["user: What now?", "assistant: a"]
    other = json.dumps([{"type": "text", "text": "x", "id": 3}])
    [row] = plain(reading(tmp_path, {"messages": [user(other), said()]}))
    assert talk(row)[0] == f"user: {other}"


@pytest.mark.parametrize("write", [json.dumps, str])
def test_the_calls_of_xlam_are_calls(tmp_path: Path, write: Any) -> None:
    row = {"query": "q", "answers": write([CALL, CALL]), "tools": json.dumps([XLAM_TOOL])}
    [found] = plain(reading(tmp_path, row))
    assert talk(found) == ["user: q", "assistant: weather{'city': 'Oslo'}weather{'city': 'Oslo'}"]
    assert found["tools"] == [{"type": "function", "function": XLAM_TOOL}]


@pytest.mark.parametrize(
    "row",
    [
        {"answers": json.dumps([CALL])},
        {"answers": json.dumps([{**CALL, "name": "news"}]), "tools": [TOOL]},
        {"answers": json.dumps([{**CALL, "why": "x"}]), "tools": [TOOL]},
        {"answers": json.dumps([{"name": "weather"}]), "tools": [TOOL]},
    ],
    ids=["no tools", "another tool", "more than a call", "no arguments"],
)
def test_json_that_is_no_call_of_the_rows_tools_is_text(tmp_path: Path, row: dict[str, Any]) -> None:
    [found] = plain(reading(tmp_path, {"query": "q", **row}))
    assert talk(found)[-1] == f"assistant: {row['answers']}"


@pytest.mark.parametrize("missing", ["", "nan", "None"])
def test_a_row_without_a_label_is_refused_and_the_others_are_rated(tmp_path: Path, missing: str) -> None:
    for name, labels in (("label", ("True", "False")), ("score", ("5", "1"))):
        path = tmp_path / "rows.csv"
        rows = [f"p,{answer},{label}" for answer, label in zip("abc", (*labels, missing), strict=True)]
        path.write_text(f"prompt,response,{name}\n" + "\n".join(rows) + "\n")
        rated = plain_rows(Reading(path))
        found = [each.row for each in rated.rows]
        assert rated.layout.shape == "rated"
        assert [row["label"] for row in found[:2] if not isinstance(row, InputError)] == [True, False]
        assert isinstance(found[2], InputError) and f"`{name}` says neither good nor bad" in found[2].message


def test_not_applicable_is_no_context(tmp_path: Path) -> None:
    [row] = plain(reading(tmp_path, {"instruction": "q", "input": "N/A", "output": "a"}))
    assert talk(row)[0] == "user: q"


@pytest.mark.parametrize("flag", [{"output_with_loss": False}, {"train": False}, {"weight": 0}], ids=str)
def test_an_exchange_that_is_not_to_be_trained(tmp_path: Path, flag: dict[str, Any]) -> None:
    exchanges = [{"system": "S", "input": "q", "output": "a", **flag}, {"input": "r", "output": "b"}]
    where = reading(tmp_path, {"conversation": exchanges})
    assert talk(plain(where)[0]) == [
        "system: S",
        "user: q",
        "assistant: a [not trained]",
        "user: r",
        "assistant: b",
    ]
    assert check(where).unused_fields == ()


def test_marks_of_turns_and_parts_of_any_role_are_kept(tmp_path: Path) -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": "r"}
    call = {"type": "tool_use", "id": "1", "name": "weather", "input": {}}
    turns = [
        {"role": "system", "content": "S", "train": False},
        {"role": "user", "content": [{"type": "text", "text": "q", "weight": 0}]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result], "weight": 0},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{**result, "weight": 0}]},
        said(),
    ]
    [row] = plain(reading(tmp_path, {"messages": turns}))
    assert [turn.get("weight") for turn in row["messages"]] == [0, 0, None, 0, None, 0, None]


def test_a_part_of_a_question_that_is_marked_is_named(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "q", "weight": 0}, {"type": "text", "text": "r"}]
    where = reading(tmp_path, {"messages": [{"role": "user", "content": parts}, said()]})
    assert talk(plain(where)[0]) == ["user: qr", "assistant: a"]
    assert check(where).unused_fields == check(where, loss_on="all").unused_fields
    assert check(where).unused_fields == ("messages[].content[].weight",)


@pytest.mark.parametrize("mark", [{"train": True}, {"weight": 1}, {"masked": False}], ids=str)
def test_a_question_marked_as_trained_is_named_unless_all_tokens_have_loss(
    tmp_path: Path, mark: dict[str, Any]
) -> None:
    name = next(iter(mark))
    where = reading(tmp_path, {"messages": [{**user(), **mark}, said()]})
    assert check(where).unused_fields == (f"messages[].{name} (of user turns)",)
    assert check(where, loss_on="all").unused_fields == ()
    parts = [{"type": "text", "text": "q", **mark}]
    where = reading(tmp_path, {"messages": [{"role": "user", "content": parts}, said()]})
    assert check(where).unused_fields == ("messages[].content[].weight (of user turns)",)
    assert check(where, loss_on="all").unused_fields == ()


def test_messages_of_langchain(tmp_path: Path) -> None:
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "1", "type": "tool_call"}
    turns = [
        {"type": "system", "content": "S"},
        {"type": "human", "content": "q"},
        {"type": "ai", "content": "", "tool_calls": [call]},
        {"type": "tool", "content": "r", "tool_call_id": "1"},
        {"type": "ai", "content": "a"},
    ]
    where = reading(tmp_path, {"messages": turns})
    assert talk(plain(where)[0]) == [
        "system: S",
        "user: q",
        "assistant: weather{'city': 'Oslo'}",
        "tool: r",
        "assistant: a",
    ]
    assert check(where).unused_fields == ()


@pytest.mark.parametrize("key", ["sender", "author"])
@pytest.mark.parametrize("name", ["messages", "chat_messages"])
def test_other_names_for_who_speaks(tmp_path: Path, name: str, key: str) -> None:
    turns = [{key: "human", "text": "q"}, {key: "assistant", "text": "a"}]
    assert talk(plain(reading(tmp_path, {name: turns}))[0]) == ["user: q", "assistant: a"]


@pytest.mark.parametrize(
    ("output", "content"),
    [({"type": "json", "value": {"r": 1}}, '{"r": 1}'), ({"type": "text", "value": "r"}, "r"), ("r", "r")],
)
def test_parts_of_the_vercel_sdk(tmp_path: Path, output: Any, content: str) -> None:
    call = {"type": "tool-call", "toolCallId": "1", "toolName": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool-result", "toolCallId": "1", "toolName": "weather", "output": output}
    turns = [
        user(),
        {"role": "assistant", "content": [call]},
        {"role": "tool", "content": [result]},
        {"role": "assistant", "parts": [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "a"}]},
    ]
    [row] = plain(reading(tmp_path, {"messages": turns}))
    assert talk(row) == [
        "user: q",
        "assistant: weather{'city': 'Oslo'}",
        f"tool: {content}",
        "assistant: (Hm.) a",
    ]
    assert row["messages"][2] == {"role": "tool", "content": content, "tool_call_id": "1", "name": "weather"}


def test_a_call_of_harmony_is_a_call(tmp_path: Path) -> None:
    turns = [
        user(),
        {"role": "assistant", "channel": "analysis", "content": "Hm."},
        {
            "role": "assistant",
            "channel": "commentary",
            "recipient": "functions.weather",
            "content": '{"city": "Oslo"}',
        },
        {"role": "tool", "name": "functions.weather", "content": "r"},
        {"role": "assistant", "channel": "final", "content": "a"},
    ]
    where = reading(tmp_path, {"messages": turns})
    [row] = plain(where)
    assert talk(row) == ["user: q", "assistant: (Hm.) weather{'city': 'Oslo'}", "tool: r", "assistant: a"]
    assert row["messages"][2]["name"] == "weather"
    assert check(where).unused_fields == ()
    turns[2] = {"role": "assistant", "channel": "commentary", "recipient": "browser", "content": "x"}
    assert set(check(reading(tmp_path, {"messages": turns})).unused_fields) == {
        "messages[].channel",
        "messages[].recipient",
    }


def test_the_tool_of_a_result_in_the_words_of_ollama(tmp_path: Path) -> None:
    turns = [
        user(),
        said("", tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]),
        {"role": "tool", "tool_name": "weather", "content": "r"},
        said(),
    ]
    where = reading(tmp_path, {"messages": turns})
    assert plain(where)[0]["messages"][2]["name"] == "weather"
    assert check(where).unused_fields == ()


def test_thoughts_that_are_not_shown_are_named(tmp_path: Path) -> None:
    details = [{"type": "reasoning.encrypted", "data": "zzz"}]
    where = reading(tmp_path, {"messages": [user(), said(reasoning_details=details)]})
    assert talk(plain(where)[0])[-1] == "assistant: () a"
    assert check(where).unused_fields == ("messages[].reasoning.encrypted",)


def test_a_kind_beside_a_conversation_is_no_prompt(tmp_path: Path) -> None:
    row = {"task": "Coding", "trajectory": [user()], "chosen": "a", "rejected": "b"}
    where = reading(tmp_path, row)
    assert plain(where)[0]["prompt"] == [user()]
    assert check(where).unused_fields == ("task",)
    assert plain(reading(tmp_path, {"task": "q", "chosen": "a", "rejected": "b"}))[0]["prompt"] == "q"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("is_preferred", True, False), ("is_chosen", "yes", "no"), ("feedback", "\U0001f44d", "\U0001f44e")],
)
def test_other_names_and_words_of_labels(tmp_path: Path, name: str, good: Any, bad: Any) -> None:
    rows = [{"prompt": "q", "response": "a", name: label} for label in (good, bad)]
    found = plain(reading(tmp_path, *rows))
    assert [row.get("label") for row in found] == [True, False]

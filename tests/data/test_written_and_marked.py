"""Objects that a row has as text are read as they are elsewhere, and marks and thoughts are kept, refused or named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.data.test_cases import TOOL
from tuner_tui.data.checking.checks import check
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def one(tmp_path: Path, row: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the row in plain form, what is named as not used)."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    rows = plain_rows(Reading(path))
    [(_, _, found)] = rows.strict()
    return found, [*rows.unused.names]


def fault(tmp_path: Path, row: dict[str, Any]) -> InputError:
    with pytest.raises(InputError) as caught:
        one(tmp_path, row)
    return caught.value


@pytest.mark.parametrize("text", ['{"enable_thinking": false}', "{'enable_thinking': False}"])
def test_names_for_the_template_are_read_from_text(tmp_path: Path, text: str) -> None:
    row, _ = one(tmp_path, {"messages": SAID, "chat_template_kwargs": text})
    assert row["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("text", ['{"enable_thinking": fal', "[1]", "off"])
def test_names_for_the_template_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    error = fault(tmp_path, {"messages": SAID, "chat_template_kwargs": text})
    assert "`chat_template_kwargs` is" in error.message and ":1:" in error.message


def test_answers_of_squad_are_read_alike_in_every_file(tmp_path: Path) -> None:
    answers = {"text": ["Lima"], "answer_start": [3]}
    row = {"question": "Where?", "context": "In Lima.", "answers": answers}
    expected, _ = one(tmp_path, row)
    assert expected["messages"][-1]["content"] == "Lima"
    for text in (str(answers), json.dumps(answers)):
        assert one(tmp_path, row | {"answers": text})[0] == expected
    table = tmp_path / "rows.csv"
    table.write_text(f'question,context,answers\nWhere?,In Lima.,"{answers}"\n')
    [(_, _, found)] = plain_rows(Reading(table)).strict()
    assert found == expected


def test_answers_that_are_python_text_are_refused_with_a_way_out(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "['a', 'b']"}
    error = fault(tmp_path, row)
    assert "`answer` is text as Python's str() writes it" in error.message
    path = tmp_path / "rows.jsonl"
    mapped = Reading(path, mapping=("user = {question}", "assistant = {answer}"))
    [(_, _, found)] = plain_rows(mapped).strict()
    assert found["messages"][-1]["content"] == "['a', 'b']"


PYTHON = ("['a', 'b']", "{'a': 'b'}", "array(['a', 'b'], dtype=object)", "[['a'], ['b']]")


@pytest.mark.parametrize("written_as", PYTHON)
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"question": "q", "answer": "a"}, ("answer",)),
        ({"prompt": "q", "completion": "a"}, ("completion",)),
        ({"prompt": "q", "completion": "a"}, ("prompt",)),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, ("rejected",)),
        ({"text": "a"}, ("text",)),
        ({"messages": SAID}, ()),
    ],
    ids=lambda value: "+".join(value),
)
def test_a_column_of_python_text_is_refused_and_a_few_such_answers_are_named(
    tmp_path: Path, good: dict[str, Any], bad: tuple[str, ...], written_as: str
) -> None:
    row = good | dict.fromkeys(bad, written_as)
    if not bad:
        row = {"messages": [SAID[0], SAID[1] | {"content": written_as}]}
    path = tmp_path / "rows.jsonl"

    def problems(rows: list[dict[str, Any]], **how: Any) -> list[tuple[str, str, tuple[str, ...]]]:
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        found = check(Reading(path, **how)).problems
        return [(each.level, each.kind, each.rows) for each in found if each.kind != "exact duplicates"]

    others = [json.loads(json.dumps(good).replace('"a"', f'"a{number}"')) for number in range(3)]
    assert problems([row, others[0]]) == [("error", "rows that cannot be read", ("1",))]
    assert problems([row, *others]) == [("warning", "answers in Python's notation", ("1",))]
    mapping = tuple(f"{name} = {{{name}}}" for name in good)
    if "answer" in good:
        mapping = ("user = {question}", "assistant = {answer}")
    assert problems([row, others[0]], mapping=mapping) == []


@pytest.mark.parametrize("answer", ['["a", "b"]', '{"a": 1}', "[1, 2]", "[not a list", "{x}", "('a',)"])
def test_json_and_other_text_are_answers(tmp_path: Path, answer: str) -> None:
    row = {"question": "q", "answer": answer}
    assert one(tmp_path, row)[0]["messages"][-1]["content"] == answer
    assert not check(Reading(tmp_path / "rows.jsonl")).problems


@pytest.mark.parametrize("write", [json.dumps, str])
def test_the_input_of_openai_pairs_is_read_from_text(tmp_path: Path, write: Any) -> None:
    asked = {"messages": [SAID[0]], "tools": [TOOL], "parallel_tool_calls": True}
    row = {"preferred_output": [SAID[1]], "non_preferred_output": [SAID[1] | {"content": "b"}]}
    expected = one(tmp_path, row | {"input": asked})
    assert expected[0]["prompt"] == [SAID[0]] and expected[0]["tools"]
    assert one(tmp_path, row | {"input": write(asked)}) == expected


@pytest.mark.parametrize("write", [json.dumps, str])
def test_a_part_as_system_prompt_is_read_from_text(tmp_path: Path, write: Any) -> None:
    row = {"system": write({"type": "text", "text": "P"}), "messages": SAID}
    assert one(tmp_path, row)[0]["messages"][0] == {"role": "system", "content": "P"}
    persona = write({"persona": "P"})
    assert one(tmp_path, row | {"system": persona})[0]["messages"][0]["content"] == persona


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("role", ["tool_call", "function_call"])
def test_thoughts_of_a_call_with_its_own_role_are_kept(tmp_path: Path, role: str, key: str) -> None:
    call = {"role": role, "content": '{"name": "f", "arguments": {}}', key: "Hm."}
    row, _ = one(tmp_path, {"messages": [SAID[0], call]})
    assert row["messages"][1]["reasoning_content"] == "Hm."
    before = SAID[1] | {"reasoning_content": "First."}
    row, _ = one(tmp_path, {"messages": [SAID[0], before, call]})
    assert row["messages"][1]["reasoning_content"] == "First.\n\nHm."


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}])
def test_thoughts_marked_apart_from_their_answer_are_refused(tmp_path: Path, mark: dict[str, Any]) -> None:
    thought = {"role": "assistant", "channel": "analysis", "content": "Hm."} | mark
    final = SAID[1] | {"channel": "final"}
    error = fault(tmp_path, {"messages": [SAID[0], thought, final]})
    assert "marked differently" in error.message and "messages[2]" in error.message
    row, _ = one(tmp_path, {"messages": [*SAID, SAID[0], thought, final | mark]})
    assert row["messages"][-1]["weight"] == 0 and row["messages"][-1]["reasoning_content"] == "Hm."


def test_a_call_that_is_not_to_be_trained_is_refused(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {}}, "weight": 0}
    error = fault(
        tmp_path, {"messages": [SAID[0], {"role": "assistant", "content": "", "tool_calls": [call]}]}
    )
    assert "a tool call is marked so" in error.message


def test_a_summary_beside_thoughts_is_named(tmp_path: Path) -> None:
    thought = {"type": "reasoning", "content": [{"type": "text", "text": "Long."}], "summary": "Short."}
    part = {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}
    row, unused = one(tmp_path, {"messages": [SAID[0], part]})
    assert row["messages"][1]["reasoning_content"] == "Long."
    assert unused == ["messages[].reasoning.summary"]
    row, unused = one(tmp_path, {"messages": [SAID[0], thought, SAID[1]]})
    assert row["messages"][1]["reasoning_content"] == "Long."
    assert unused == ["messages[].reasoning.summary"]
    row, unused = one(tmp_path, {"messages": [SAID[0], thought | {"content": []}, SAID[1]]})
    assert (row["messages"][1]["reasoning_content"], unused) == ("Short.", [])


def test_an_answer_of_another_type_is_named_with_its_type(tmp_path: Path) -> None:
    error = fault(tmp_path, {"question": "q", "passage": "p", "answer": True})
    assert "`answer`, beside `question`, is of type bool" in error.message


def test_a_rated_answer_that_is_not_to_be_trained_is_refused_as_that(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    marked = {"prompt": [SAID[0]], "completion": [SAID[1] | {"weight": 0}], "label": True}
    path.write_text("".join(json.dumps(each) + "\n" for each in (marked, marked | {"label": False})))
    told = [f"{each.kind} {each.message}" for each in check(Reading(path)).problems]
    assert any("is marked as not to be trained" in each for each in told), told
    assert not any("empty answers" in each for each in told)

"""Rows of which a part was once dropped without a word: read, refused in words, or named as not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.data.test_cases import TOOL, plain, reading, said, talk, user
from tuner_tui.cli.data import data
from tuner_tui.config.methods.traits import TRAITS
from tuner_tui.data.checking.checks import check
from tuner_tui.data.checking.report import unused_words
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.data.rows.preference import read_pairs, read_rated
from tuner_tui.data.rows.unused import field_name
from tuner_tui.errors import InputError
from tuner_tui.feedback.importing import read_import

ROW = {"question": "q", "answer": "a"}
OTHER = {"question": "r", "answer": "b"}


def written(tmp_path: Path, text: str, name: str = "rows.json") -> Reading:
    path = tmp_path / name
    path.write_text(text)
    return Reading(path)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_pretty_objects_one_after_the_other_are_rows(tmp_path: Path, name: str) -> None:
    text = "\n".join(json.dumps(row, indent=2) for row in (ROW, OTHER))
    assert [talk(row) for row in plain(written(tmp_path, text, name))] == [
        ["user: q", "assistant: a"],
        ["user: r", "assistant: b"],
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (json.dumps([ROW], indent=1) + "\n" + json.dumps([OTHER]), "rows.json:7: found '['"),
        (json.dumps([ROW], indent=1) + "\nGARBAGE", "found 'G'"),
        (json.dumps([ROW], indent=1) + '\n{"train": [', "found '{'"),
        (json.dumps(ROW, indent=1) + ",\n" + json.dumps(OTHER, indent=1), "found ','"),
        (json.dumps({"train": [ROW]}, indent=1) + "\n" + json.dumps({"train": [OTHER]}), "found '{'"),
    ],
    ids=["two arrays", "garbage", "cut splits", "commas", "two objects of splits"],
)
def test_what_stands_after_the_rows_is_refused(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InputError, match="extra data after the rows") as told:
        plain(written(tmp_path, text))
    assert where in told.value.message


# Messages that are rows of their own ---------------------------------------------------------------------------------


def message(number: Any, parent: Any, text: str, **more: Any) -> dict[str, Any]:
    role = "user" if text.startswith("q") else "assistant"
    return {"id": number, "parent_id": parent, "role": role, "text": text, **more}


def test_ids_that_hold_within_a_conversation(tmp_path: Path) -> None:
    rows = [
        message(
            number, number - 1 or None, f"{'aq'[number % 2]}{talk_name}{number}", conversation_id=talk_name
        )
        for talk_name in "AB"
        for number in range(1, 5)
    ]
    assert [talk(row) for row in plain(reading(tmp_path, *rows))] == [
        ["user: qA1", "assistant: aA2", "user: qA3", "assistant: aA4"],
        ["user: qB1", "assistant: aB2", "user: qB3", "assistant: aB4"],
    ]


def test_an_id_that_two_messages_have_is_refused(tmp_path: Path) -> None:
    rows = [message(1, None, "q"), message(2, 1, "a"), message(2, 1, "b")]
    found = list(plain_rows(reading(tmp_path, *rows)).rows)
    problems = [str(each.row) for each in found if isinstance(each.row, InputError)]
    assert len(problems) == 1 and "rows.jsonl:3: `id` is '2', as in line 2" in problems[0]
    assert [talk(each.row) for each in found if isinstance(each.row, dict)] == [["user: q", "assistant: a"]]


@pytest.mark.parametrize(
    "circle",
    [
        [message(8, 8, "q own parent")],
        [message(8, 9, "q"), message(9, 8, "a")],
        [message(8, 9, "q"), message(9, 8, "a"), message(10, 9, "q after a circle")],
    ],
    ids=["its own parent", "two", "a message after two"],
)
def test_a_circle_beside_good_rows_is_named(tmp_path: Path, circle: list[dict[str, Any]]) -> None:
    good = [message(1, None, "q"), message(2, 1, "a")]
    found = list(plain_rows(reading(tmp_path, *good, *circle)).rows)
    assert [talk(each.row) for each in found if isinstance(each.row, dict)] == [["user: q", "assistant: a"]]
    problems = [str(each.row) for each in found if isinstance(each.row, InputError)]
    assert problems and all("circle" in problem for problem in problems)


def test_rows_that_are_all_their_own_parents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leads back to it"):
        check(reading(tmp_path, message(1, 1, "q"), message(2, 2, "a")))


# Columns -------------------------------------------------------------------------------------------------------------


def test_columns_that_come_up_late_are_used(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    rows: list[dict[str, Any]] = [{"messages": [user(), said()]}] * 60
    late = {"messages": [user(), said()], "system": "Be brief.", "tools": [tool]}
    where = reading(tmp_path, *rows, late)
    found = plain(where)
    assert talk(found[-1]) == ["system: Be brief.", "user: q", "assistant: a"]
    assert found[-1]["tools"] == [tool]
    report = check(where)
    assert report.unused_fields == ()
    assert report.layout.mapping["system"] == "{system}"


def test_a_context_that_comes_up_late_is_used(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{number}", "output": "a"} for number in range(60)]
    where = reading(tmp_path, *rows, {"instruction": "q", "input": "the text", "output": "a"})
    assert talk(plain(where)[-1]) == ["user: q\n\nthe text", "assistant: a"]


def test_the_context_of_rated_answers_is_used(tmp_path: Path) -> None:
    row = {"instruction": "q", "input": "the text", "output": "a", "kto_tag": True}
    where = reading(tmp_path, row, {**row, "kto_tag": False}, asked="rated")
    [rated, _] = read_rated(where)
    assert rated.prompt == "q\n\nthe text"
    assert check(where).unused_fields == ()


@pytest.mark.parametrize("switch", ["on", "off", "high"])
def test_a_switch_for_thinking_is_no_thought(tmp_path: Path, switch: str) -> None:
    row = {"input": [user("2+2?")], "output": "4", "reasoning": switch}
    where = reading(tmp_path, row, row)
    assert talk(plain(where)[0]) == ["user: 2+2?", "assistant: 4"]
    assert "reasoning" in check(where).unused_fields


def test_scores_beyond_those_of_the_first_rows_are_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "response": f"a{number}", "score": number % 2} for number in range(60)]
    later = [{"prompt": "q", "response": "b", "score": score} for score in (1, 0, 6)]
    found = list(plain_rows(reading(tmp_path, *rows, *later)).rows)
    problems = [str(each.row) for each in found if isinstance(each.row, InputError)]
    assert len(problems) == 1 and "`score` is 6" in problems[0] and "rows.jsonl:63" in problems[0]


def test_one_turn_written_as_text_is_a_turn(tmp_path: Path) -> None:
    turn = json.dumps(said("Lima."))
    assert talk(plain(reading(tmp_path, {"question": "q", "answer": turn}))[0]) == [
        "user: q",
        "assistant: Lima.",
    ]
    pair = {"prompt": "q", "chosen": turn, "rejected": json.dumps(said("Quito."))}
    assert plain(reading(tmp_path, pair))[0]["chosen"] == [said("Lima.")]
    answer = {"prompt": "q", "completion": turn}
    assert plain(reading(tmp_path, answer))[0]["completion"] == [said("Lima.")]


# Parts of turns ------------------------------------------------------------------------------------------------------


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def test_an_answer_marked_in_part_is_refused(tmp_path: Path) -> None:
    turns = [user(), said([text("a guess. ", train=False), text("right.")])]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A part of a turn is marked as not trained"):
        plain(reading(tmp_path, {"messages": turns}))


def test_an_answer_all_parts_of_which_are_marked_is_not_trained(tmp_path: Path) -> None:
    turns = [user(), said([text("a ", weight=0), text("b", weight=0)]), user("r"), said("c")]  # type: ignore[arg-type]
    assert talk(plain(reading(tmp_path, {"messages": turns}))[0]) == [
        "user: q", "assistant: a b [not trained]", "user: r", "assistant: c",
    ]  # fmt: skip


def test_keys_of_parts_are_named(tmp_path: Path) -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": "12", "is_error": True}
    turns = [
        user([text("q", highlighted=True, cache_control={"type": "ephemeral"})]),  # type: ignore[arg-type]
        said([{"type": "tool_use", "id": "1", "name": "weather", "input": {}}]),  # type: ignore[arg-type]
        user([result]),  # type: ignore[arg-type]
        said([text("a", citations=["b"], thought="hm")]),  # type: ignore[arg-type]
    ]
    assert set(check(reading(tmp_path, {"messages": turns})).unused_fields) == {
        f"messages[].content[].{key}" for key in ("highlighted", "is_error", "citations", "thought")
    }


def test_a_second_way_to_say_a_call_is_named(tmp_path: Path) -> None:
    first = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    turns = [user(), said("", tool_calls=[first], function_call={"name": "time", "arguments": "{}"})]
    assert check(reading(tmp_path, {"messages": turns})).unused_fields == ("messages[].function_call",)
    both = {"name": "weather", "arguments": {"city": "Oslo"}, "parameters": {"city": "Rome"}}
    turns = [user(), said("", tool_calls=[both])]
    assert check(reading(tmp_path, {"messages": turns})).unused_fields == ("tool_calls[].parameters",)
    same = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    turns = [user(), said("", tool_calls=[first], function_call=same)]
    assert check(reading(tmp_path, {"messages": turns})).unused_fields == ()


def test_tools_by_name(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    row = {
        "messages": [user(), said()],
        "tools": {"weather": {"description": "d", "parameters": schema}, "time": {"description": "e"}},
    }
    assert plain(reading(tmp_path, row))[0]["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema}},
        {"type": "function", "function": {"name": "time", "description": "e"}},
    ]
    inner = {"name": "weather", "parameters": schema}
    row["tools"] = [{"type": "function", "function": json.dumps(inner)}]
    assert plain(reading(tmp_path, row))[0]["tools"] == [{"type": "function", "function": inner}]
    row["tools"] = [{"description": "d"}]
    with pytest.raises(InputError, match="A tool has no name"):
        plain(reading(tmp_path, row))


# Other people's formats ----------------------------------------------------------------------------------------------


def pairs_of(where: Reading) -> list[tuple[list[str], list[str], list[str]]]:
    """(prompt, chosen, rejected) as lines."""
    found = []
    for example in read_pairs(where):
        sides = (example.prompt, example.chosen, example.rejected)
        assert not any(isinstance(side, str) for side in sides)
        found.append(tuple(talk({"messages": [turn.turn for turn in side]}) for side in sides))  # type: ignore[union-attr]
    return found  # type: ignore[return-value]


CHOSEN, REJECTED = said("good"), said("bad")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user(), CHOSEN], "rejected_response": "bad"},
        {"messages": [user(), CHOSEN], "rejected_response": REJECTED},
        {"messages": [user(), CHOSEN], "rejected_messages": [user(), REJECTED]},
        {"messages": json.dumps([user(), CHOSEN]), "rejected_messages": json.dumps([user(), REJECTED])},
        {"query": "q", "response": "good", "rejected_response": "bad"},
    ],
    ids=["text", "turn", "turns", "written", "query"],
)
def test_swift_pairs(tmp_path: Path, row: dict[str, Any]) -> None:
    where = reading(tmp_path, row, row)
    assert pairs_of(where)[0] == (["user: q"], ["assistant: good"], ["assistant: bad"])
    report = check(where)
    assert (report.layout.shape, report.unused_fields) == ("preference", ())


def test_swift_pairs_have_history_system_and_tools(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "query": "q",
        "response": "good",
        "rejected_response": "bad",
        "history": [["p", "o"]],
        "system": "s",
    }
    assert pairs_of(reading(tmp_path, row)) == [
        (["system: s", "user: p", "assistant: o", "user: q"], ["assistant: good"], ["assistant: bad"])
    ]
    row = {"messages": [user("p"), said("o"), user(), CHOSEN], "rejected_response": "bad", "tools": [TOOL]}
    where = reading(tmp_path, row)
    assert pairs_of(where) == [
        (["user: p", "assistant: o", "user: q"], ["assistant: good"], ["assistant: bad"])
    ]
    assert read_pairs(where)[0].tools == (TOOL,)


def test_swift_pairs_without_a_preferred_answer_are_refused(tmp_path: Path) -> None:
    row: dict[str, Any] = {"messages": [user()], "rejected_response": "bad"}
    with pytest.raises(InputError, match="`messages` must end with the assistant's turn"):
        read_pairs(reading(tmp_path, row))
    row = {"messages": [user(), CHOSEN], "rejected_response": "bad", "rejected_messages": [user(), REJECTED]}
    with pytest.raises(InputError, match="both `rejected_response` and `rejected_messages`"):
        read_pairs(reading(tmp_path, row))


@pytest.mark.parametrize("labels", [[True, False], [1, 0]])
def test_stepwise_rows_are_refused_by_name(tmp_path: Path, labels: list[Any]) -> None:
    row = {"prompt": "q", "completions": ["First, ...", "Second, ..."], "labels": labels}
    with pytest.raises(InputError) as told:
        check(reading(tmp_path, row))
    assert told.value.title == "Stepwise supervision is not trained by any method"
    assert "`completions` are the steps of one answer, and `labels`" in told.value.message
    for method in TRAITS:
        assert method in told.value.hint
        with pytest.raises(InputError, match="Stepwise supervision"):
            read_for(method, reading(tmp_path, row))


def test_scored_answers_are_no_steps(tmp_path: Path) -> None:
    row = {"prompt": "q", "completions": ["a", "b"], "labels": [1, 5]}
    assert [pair.chosen for pair in read_pairs(reading(tmp_path, row))] == ["b"]


@pytest.mark.parametrize("is_written", [False, True])
def test_thoughts_and_answers_beside_an_open_conversation(tmp_path: Path, is_written: bool) -> None:
    """As in Dolphin-R1."""
    turns: Any = [{"role": "system", "content": "s"}, user()]
    row = {
        "messages": json.dumps(turns) if is_written else turns,
        "reasoning": "hm",
        "answer": "a",
        "model": "r1",
    }
    where = reading(tmp_path, row, row | {"answer": '{"a": 1}'})
    assert [talk(each) for each in plain(where)] == [
        ["system: s", "user: q", "assistant: (hm) a"],
        ["system: s", "user: q", 'assistant: (hm) {"a": 1}'],
    ]
    assert check(where).unused_fields == ("model",)


def test_the_rationale_of_a_judge_is_no_thought(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    judged = row | {"chosen_rationale": "clear", "rejected_rationale": "vague"}
    where = reading(tmp_path, judged)
    assert {*check(where).unused_fields} == {"chosen_rationale", "rejected_rationale"}
    assert plain(where) == [row]
    thinking = reading(tmp_path, row | {"chosen_reasoning": "hm", "rejected_reasoning": "no"})
    assert talk({"messages": plain(thinking)[0]["chosen"]}) == ["assistant: (hm) a"]
    assert "`chosen_reasoning` and `rejected_reasoning`" in check(thinking).layout.reason


@pytest.mark.parametrize(
    "history",
    [[["p", "o"]], '[["p", "o"]]', [user("p"), said("o")], "[['p', 'o']]"],
    ids=["pairs", "written", "turns", "python"],
)
def test_a_history_is_trained_and_shown(tmp_path: Path, history: Any) -> None:
    row = {"instruction": "q", "output": "a", "history": history}
    where = reading(tmp_path, row, row | {"history": []}, row | {"history": None})
    assert [talk(each) for each in plain(where)] == [
        ["user: p", "assistant: o", "user: q", "assistant: a"],
        ["user: q", "assistant: a"],
        ["user: q", "assistant: a"],
    ]
    mapping = check(where).layout.mapping
    assert mapping["history"] == "{history}"
    again = reading(tmp_path, row, mapping=tuple(f"{part} = {each}" for part, each in mapping.items()))
    assert talk(plain(again)[0]) == ["user: p", "assistant: o", "user: q", "assistant: a"]


def test_a_history_that_is_prose_is_named(tmp_path: Path) -> None:
    where = reading(tmp_path, {"instruction": "q", "output": "a", "history": "We spoke."})
    assert check(where).unused_fields == ("history",)


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("source", "source"),
        ("data.id", "data.id"),
        ("", '""'),
        ("Unnamed: 0", '"Unnamed: 0"'),
        ("a,b", '"a,b"'),
        ("tab\there", '"tab\\there"'),
        ("größe", "größe"),
        ("messages[].weight (of user turns)", "messages[].weight (of user turns)"),
    ],
)
def test_names_that_would_not_be_told_apart_are_quoted(name: str, shown: str) -> None:
    assert field_name(name) == shown


def test_a_pandas_index_is_named(tmp_path: Path) -> None:
    where = written(tmp_path, ",Unnamed: 0,question,answer\n0,1,q,a\n", "rows.csv")
    assert unused_words(check(where)) == 'Fields not used: "", "Unnamed: 0".'


# Containers ----------------------------------------------------------------------------------------------------------


def test_other_splits_of_a_file_are_named(tmp_path: Path) -> None:
    rows = {"validation": [OTHER], "train": [ROW], "test": [OTHER, OTHER], "version": "1.0", "none": []}
    where = written(tmp_path, json.dumps(rows))
    report = check(where)
    assert report.rows == 1
    assert report.not_read == {"validation": "1 row", "test": "2 rows", "version": "not rows"}
    shown = CliRunner().invoke(data, ["check", str(where.path)]).output
    told = " ".join(shown.split())
    assert "Not read: validation (1 row), test (2 rows), version (not rows). --split selects a split." in told
    other = check(Reading(where.path, split="test"))
    assert (other.rows, other.not_read) == (
        2,
        {"validation": "1 row", "train": "1 row", "version": "not rows"},
    )


def test_other_splits_of_a_folder_are_named(tmp_path: Path) -> None:
    for name, rows in (("train-0", [ROW]), ("train-1", [ROW]), ("test", [OTHER]), ("notes", [OTHER])):
        written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), f"{name}.jsonl")
    report = check(Reading(tmp_path))
    assert (report.rows, report.not_read) == (2, {"files without a split's name": "1 file", "test": "1 file"})
    assert check(Reading(tmp_path / "notes.jsonl")).not_read == {}


def test_what_an_import_does_not_read_is_named(tmp_path: Path) -> None:
    where = written(tmp_path, json.dumps({"train": [{"prompt": "q"}], "test": [{"prompt": "r"}]}))
    assert "Not read: test (1 row)." in read_import(where.path).lines()

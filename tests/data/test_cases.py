"""Rows as other people write them: what each says is read, refused in words, or named as not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuner_tui.data.checking.checks import check
from tuner_tui.data.checking.report import unused_words
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.rows.preference import read_pairs, read_rated
from tuner_tui.data.rows.types import read_examples
from tuner_tui.errors import InputError

CASES = Path(__file__).parent / "cases" / "rows"


def reading(tmp_path: Path, *rows: Any, **how: Any) -> Reading:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Reading(path, **how)


def plain(where: Reading | str) -> list[dict[str, Any]]:
    found = plain_rows(where if isinstance(where, Reading) else Reading(CASES / where))
    return [row for _, _, row in found.strict()]


def talk(row: dict[str, Any], part: str = "messages") -> list[str]:
    """Turns as lines: who says what, with thoughts, calls and marks."""
    lines = []
    for turn in row[part]:
        calls = [
            f"{each['function']['name']}{each['function']['arguments']}"
            for each in turn.get("tool_calls", ())
        ]
        thoughts = f"({turn['reasoning_content']}) " if "reasoning_content" in turn else ""
        mark = " [not trained]" if turn.get("weight") == 0 else ""
        lines.append(f"{turn['role']}: {thoughts}{turn['content']}{''.join(calls)}{mark}")
    return lines


def user(text: str = "q") -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str = "a", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def call(city: str = "Oslo", name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": {"city": city}}, **more}


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


# Turns of any dataset type -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tools_dpo", "tools_dpo_final"])
def test_tools_of_pairs_are_kept(name: str) -> None:
    pairs = read_pairs(CASES / f"{name}.jsonl")
    assert [pair.tools[0]["function"]["name"] for pair in pairs] == ["get_weather"] * 2


def test_tools_of_rated_answers_are_kept() -> None:
    rated = read_rated(CASES / "tools_kto.jsonl")
    assert all(each.tools[0]["function"]["name"] == "get_weather" for each in rated)


def test_a_call_is_an_answer() -> None:
    first, second = read_pairs(CASES / "tools_dpo.jsonl")
    assert [turn.role for turn in first.chosen] == ["assistant"]  # type: ignore[union-attr]
    assert first.chosen[0].extra["tool_calls"][0]["function"]["arguments"] == {"city": "Porto"}  # type: ignore
    assert second.chosen != second.rejected


@pytest.mark.parametrize(
    "other", [call("Lima"), call(name="news"), {**call(), "function": {"name": "weather"}}]
)
def test_different_calls_are_different_sides(tmp_path: Path, other: dict[str, Any]) -> None:
    row = {"prompt": [user()], "chosen": [said("I look.", tool_calls=[call()])]}
    row["rejected"] = [said("I look.", tool_calls=[other])]
    assert not check(reading(tmp_path, row)).problems
    assert len(read_pairs(reading(tmp_path, row))) == 1
    assert not check(Reading(CASES / "pairs_args.jsonl")).problems


def test_the_same_call_under_another_number_is_the_same_side(tmp_path: Path) -> None:
    sides = [[said("", tool_calls=[call(id=number)])] for number in ("c1", "c2")]
    row = {"prompt": [user()], "chosen": sides[0], "rejected": sides[1]}
    assert [each.kind for each in check(reading(tmp_path, row)).problems] == ["identical sides"]
    with pytest.raises(InputError, match="nothing is preferred"):
        read_pairs(reading(tmp_path, row))


def test_thoughts_tell_rows_and_sides_apart(tmp_path: Path) -> None:
    assert not check(Reading(CASES / "dup_thoughts.jsonl")).problems
    row = {"prompt": [user()], "chosen": [said(thinking="one")], "rejected": [said(thinking="two")]}
    assert not check(reading(tmp_path, row)).problems
    tools = [{"messages": [user(), said()], "tools": [{**TOOL, "function": {"name": n}}]} for n in "ab"]
    assert not check(reading(tmp_path, *tools)).problems
    assert [each.kind for each in check(reading(tmp_path, tools[0], tools[0])).problems] == [
        "exact duplicates"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "reasoning_content",
        "reasoning",
        "thinking",
        "thought",
        "thoughts",
        "reasoning_text",
        "reasoning_details",
    ],
)
@pytest.mark.parametrize("kind", ["messages", "completion", "chosen", "label"])
def test_thoughts_under_any_name(tmp_path: Path, name: str, kind: str) -> None:
    value: Any = [{"type": "reasoning.text", "text": "hm"}] if name == "reasoning_details" else "hm"
    answer = [said(**{name: value})]
    row = {
        "messages": {"messages": [user(), *answer]},
        "completion": {"prompt": [user()], "completion": answer},
        "chosen": {"prompt": [user()], "chosen": answer, "rejected": [said("b")]},
        "label": {"prompt": [user()], "completion": answer, "label": True},
    }[kind]
    [read] = plain(reading(tmp_path, row))
    part = "completion" if kind == "label" else kind
    assert talk(read, part)[-1] == "assistant: (hm) a"
    assert check(reading(tmp_path, row)).unused_fields == ()


def test_thoughts_of_pairs_and_columns() -> None:
    assert talk(plain("reason_dpo.jsonl")[0], "chosen") == [
        "assistant: (Eight each, three of them: 24.) Twenty-four."
    ]
    assert talk(plain("reason_reasoning.jsonl")[1])[-1] == "assistant: (Both weigh one kilo.) Neither."
    assert talk(plain("reason_column.jsonl")[1])[-1] == "assistant: (Both are a kilo.) Neither."


@pytest.mark.parametrize("name", ["thinking", "chain_of_thought", "cot", "Complex_CoT", "rationale"])
def test_thoughts_in_a_column(tmp_path: Path, name: str) -> None:
    [row] = plain(reading(tmp_path, {"question": "q", name: "hm", "answer": "a"}))
    assert talk(row) == ["user: q", "assistant: (hm) a"]


def test_thoughts_of_sides_in_columns(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_reasoning": "x", "rejected_reasoning": "y"}
    [read] = plain(reading(tmp_path, row))
    assert talk(read, "chosen") + talk(read, "rejected") == ["assistant: (x) a", "assistant: (y) b"]


def test_openai_preferences_keep_their_tools(tmp_path: Path) -> None:
    row = {
        "input": {"messages": [user()], "tools": [TOOL], "parallel_tool_calls": True},
        "preferred_output": [said("", tool_calls=[call()])],
        "non_preferred_output": [said("b")],
    }
    report = check(reading(tmp_path, row))
    assert (report.layout.shape, report.unused_fields) == ("preference", ("input.parallel_tool_calls",))
    [pair] = read_pairs(reading(tmp_path, row))
    assert pair.tools == (TOOL,)
    assert pair.chosen[-1].texts == ['weather({"city": "Oslo"})']  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["messages", "completion", "chosen", "label", "instruction"])
@pytest.mark.parametrize("written", [False, True], ids=["object", "text"])
def test_names_for_the_template_are_read(tmp_path: Path, kind: str, written: bool) -> None:
    kwargs: Any = {"enable_thinking": False}
    types: dict[str, dict[str, Any]] = {
        "messages": {"messages": [user(), said()]},
        "completion": {"prompt": [user()], "completion": [said()]},
        "chosen": {"prompt": [user()], "chosen": [said()], "rejected": [said("b")]},
        "label": {"prompt": [user()], "completion": [said()], "label": True},
        "instruction": {"question": "q", "answer": "a"},
    }
    row = types[kind] | {"chat_template_kwargs": json.dumps(kwargs) if written else kwargs}
    [read] = plain(reading(tmp_path, row))
    assert read["chat_template_kwargs"] == kwargs


# Marks and columns beside the turns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flag_train", "flag_training", "flag_loss"])
def test_turns_marked_as_not_to_be_trained(name: str) -> None:
    assert talk(plain(f"{name}.jsonl")[0]) == [
        "user: Two plus two?", "assistant: Five. [not trained]", "user: Look again.", "assistant: Four, sorry.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mark", "is_trained"),
    [
        ({"weight": 0}, False), ({"weight": 1}, True), ({"weight": 0.0}, False), ({"train": "false"}, False),
        ({"trainable": False}, False), ({"loss_mask": 0}, False), ({"supervise": False}, False),
        ({"masked": True}, False), ({"train": True}, True), ({"loss": None}, True), ({"training": 1}, True),
        ({"train": True, "weight": 0}, False),
    ],
)  # fmt: skip
def test_marks_of_many_kinds(tmp_path: Path, mark: dict[str, Any], is_trained: bool) -> None:
    row = {"messages": [user(), said("x", **mark), user(), said()]}
    assert talk(plain(reading(tmp_path, row))[0])[1].endswith("[not trained]") is not is_trained
    assert check(reading(tmp_path, row)).unused_fields == ()


@pytest.mark.parametrize("mark", [{"loss": 1.37}, {"weight": 0.5}, {"train": "perhaps"}])
def test_marks_that_are_none_are_named(tmp_path: Path, mark: dict[str, Any]) -> None:
    row = {"messages": [user(), said("x", **mark)]}
    assert check(reading(tmp_path, row)).unused_fields == (f"messages[].{next(iter(mark))}",)


def test_a_mark_that_would_train_a_user_is_named(tmp_path: Path) -> None:
    report = check(reading(tmp_path, {"messages": [user() | {"train": True}, said()]}))
    assert report.unused_fields == ("messages[].train (of user turns)",)


def test_a_side_cannot_be_trained_in_part(tmp_path: Path) -> None:
    row = {"prompt": [user()], "chosen": [said(weight=0)], "rejected": [said("b")]}
    with pytest.raises(InputError, match="marked as not to be trained"):
        read_pairs(reading(tmp_path, row))
    shared = [user(), said("x", weight=0), user()]
    [pair] = read_pairs(reading(tmp_path, {"chosen": [*shared, said()], "rejected": [*shared, said("b")]}))
    assert [turn.content for turn in pair.prompt] == ["q", "x", "q"]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["bedrock", "anthropic_sys", "sys_dict"])
def test_system_prompts_of_their_own(name: str) -> None:
    assert talk(plain(f"{name}.jsonl")[0])[:2] == [
        "system: You speak like a pirate.",
        "user: Where is the ship?",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "Be kind.", ["Be kind."], [{"text": "Be kind."}], [{"type": "text", "text": "Be kind."}], {"text": "Be kind."},
        {"role": "system", "content": "Be kind."}, [{"role": "system", "content": "Be kind."}],
        {"parts": [{"text": "Be kind."}]}, {"role": "system", "parts": [{"text": "Be kind."}]},
        '[{"type": "text", "text": "Be kind."}]', '{"role": "system", "content": "Be kind."}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["messages", "completion", "chosen", "label", "instruction", "prompts"])
def test_a_system_column_of_any_form_and_type(tmp_path: Path, value: Any, kind: str) -> None:
    types: dict[str, dict[str, Any]] = {
        "messages": {"messages": [user(), said()]},
        "completion": {"prompt": "q", "completion": "a"},
        "chosen": {"prompt": "q", "chosen": "a", "rejected": "b"},
        "label": {"prompt": "q", "completion": "a", "label": True},
        "instruction": {"question": "q", "answer": "a"},
        "prompts": {"prompt": "q"},
    }
    row = types[kind] | {"system": value}
    [read] = plain(reading(tmp_path, row))
    part = "messages" if kind in ("messages", "instruction") else "prompt"
    assert talk(read, part)[:2] == ["system: Be kind.", "user: q"]


@pytest.mark.parametrize(
    "name", ["system_instruction", "systemInstruction", "System Prompt", "system_message"]
)
def test_a_system_column_under_other_names(tmp_path: Path, name: str) -> None:
    [row] = plain(reading(tmp_path, {name: "Be kind.", "messages": [user(), said()]}))
    assert talk(row)[0] == "system: Be kind."


def test_two_system_prompts_that_differ_are_named(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "One."}, user(), said()]
    assert check(reading(tmp_path, {"system": "One.", "messages": turns})).unused_fields == ()
    assert check(reading(tmp_path, {"system": "Two.", "messages": turns})).unused_fields == ("system",)


def test_fields_that_are_not_used_are_listed(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"messages": [user() | {"mood": "glad"}, said()], "source": "x", "empty": None, "tools": []},
        {"messages": [user("r"), said("s")], "source": "y", "id": 7},
    ]
    report = check(reading(tmp_path, *rows))
    assert dict(report.unused) == {"source": 2, "messages[].mood": 1, "id": 1}
    assert "source" in unused_words(report) and "id (1 row)" in unused_words(report)
    assert check(reading(tmp_path, {"prompt": "q", "completion": "a", "tools": [TOOL]})).unused_fields == (
        "tools",
    )
    mapped = reading(
        tmp_path, {"ask": "q", "reply": "a", "note": "n"}, mapping=("user = {ask}", "assistant = {reply}")
    )
    assert check(mapped).unused_fields == ("note",)


# Trees and single messages -------------------------------------------------------------------------------------------


def test_message_trees_become_conversations() -> None:
    assert [talk(row) for row in plain("oasst_flat.jsonl")] == [
        ["user: Capital of Portugal?", "assistant: Lisbon.", "user: And of Peru?", "assistant: Lima."]
    ]
    assert [talk(row) for row in plain("oasst_h2o.jsonl")] == [
        ["user: Capital of Portugal?", "assistant: Lisbon.", "user: And how many live there?",
         "assistant: Half a million."]
    ]  # fmt: skip


def test_an_answer_in_two_branches_is_trained_once(tmp_path: Path) -> None:
    rows = [
        {"message_id": number, "parent_id": parent, "role": role, "text": text, "lang": "en"}
        for number, parent, role, text in (
            ("1", None, "prompter", "q"), ("2", "1", "assistant", "a"), ("3", "2", "prompter", "r"),
            ("4", "3", "assistant", "s"), ("5", "2", "prompter", "t"), ("6", "5", "assistant", "u"),
        )
    ]  # fmt: skip
    where = reading(tmp_path, *rows)
    assert [talk(row) for row in plain(where)] == [
        ["user: q", "assistant: a", "user: r", "assistant: s"],
        ["user: q [not trained]", "assistant: a [not trained]", "user: t", "assistant: u"],
    ]
    assert check(where).unused_fields == ("messages[].lang",)


def test_a_message_without_its_parent_is_refused(tmp_path: Path) -> None:
    rows = [
        {"id": number, "parent_id": parent, "role": role, "text": "x"}
        for number, parent, role in (("1", None, "user"), ("2", "1", "assistant"), ("4", "3", "assistant"))
    ]
    [problem] = check(reading(tmp_path, *rows)).problems
    assert problem.kind == "rows that cannot be read" and "`parent_id` is '3'" in problem.message


def test_messages_of_one_conversation_are_put_together(tmp_path: Path) -> None:
    rows = [
        {"conversation_id": number, "role": role, "content": text}
        for number, role, text in (
            (1, "user", "q"),
            (2, "user", "r"),
            (1, "assistant", "a"),
            (2, "assistant", "s"),
        )
    ]
    assert [talk(row) for row in plain(reading(tmp_path, *rows))] == [
        ["user: q", "assistant: a"], ["user: r", "assistant: s"],
    ]  # fmt: skip


def test_single_messages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Each row is a single message"):
        plain(reading(tmp_path, user(), said()))


@pytest.mark.parametrize("name", ["replies", "children"])
def test_a_tree_within_a_row_is_refused(tmp_path: Path, name: str) -> None:
    row = {"messages": [user() | {name: [said()]}, said()]}
    with pytest.raises(InputError, match="not one conversation"):
        plain(reading(tmp_path, row))


# Text that is JSON or Python -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["json_pairs", "repr_pairs"])
def test_sides_written_as_text_are_turns(name: str) -> None:
    pairs = read_pairs(CASES / f"{name}.csv")
    assert [pair.chosen[-1].content for pair in pairs] == [  # type: ignore[union-attr]
        "A redwood.\nIt can be 115 m.", "Archimedes, they say.", "The Douro.",
    ]  # fmt: skip
    assert [len(pair.chosen) for pair in pairs] == [1, 1, 1]
    assert pairs[0].prompt[0].content == "What's the tallest tree?"  # type: ignore[union-attr]


def test_prompts_written_as_text_are_turns() -> None:
    assert talk(plain("jt_pairs_prompt.jsonl")[0], "prompt") == ["user: Capital of Portugal?"]


def test_conversations_written_as_python_are_turns() -> None:
    assert talk(plain("repr_messages.csv")[1]) == [
        'user: Who said "Eureka"?',
        "assistant: Archimedes, they say.",
    ]


ARRAY = "[{'content': 'q', 'role': 'user'}\n {'content': \"it's}\\n{\", 'role': 'assistant', 'name': nan}]"


@pytest.mark.parametrize("text", [ARRAY, f"array({ARRAY.replace(chr(10), ',')}, dtype=object)"])
def test_conversations_as_pandas_writes_arrays(tmp_path: Path, text: str) -> None:
    assert talk(plain(reading(tmp_path, {"messages": text}))[0]) == ["user: q", "assistant: it's}\n{"]


@pytest.mark.parametrize("kind", ["completion", "chosen", "label", "prompts", "text", "instruction"])
@pytest.mark.parametrize("write", [json.dumps, repr], ids=["json", "python"])
def test_turns_as_text_in_any_type(tmp_path: Path, kind: str, write: Any) -> None:
    asked, answer = write([user()]), write([said('it\'s "a"')])
    row = {
        "completion": {"prompt": asked, "completion": answer},
        "chosen": {"prompt": asked, "chosen": answer, "rejected": write([said("b")])},
        "label": {"prompt": asked, "completion": answer, "label": True},
        "prompts": {"prompt": asked},
        "text": {"text": write([user(), said('it\'s "a"')])},
        "instruction": {"question": "q", "answer": answer},
    }[kind]
    [read] = plain(reading(tmp_path, row))
    lines = [line for part in read if isinstance(read[part], list) for line in talk(read, part)]
    expected = ["user: q"] if kind == "prompts" else ["user: q", 'assistant: it\'s "a"']
    assert lines[: len(expected)] == expected


@pytest.mark.parametrize(
    "text", ["[{'role': 'user', 'content': 'q'}, ...]", "[{'role': 'user', 'content': 'q"]
)
@pytest.mark.parametrize("kind", ["completion", "chosen", "text", "answer"])
def test_turns_as_text_that_cannot_be_read_are_refused(tmp_path: Path, text: str, kind: str) -> None:
    row = {
        "completion": {"prompt": "q", "completion": text},
        "chosen": {"prompt": "q", "chosen": text, "rejected": "b"},
        "text": {"text": text},
        "answer": {"question": "q", "answer": text},
    }[kind]
    with pytest.raises(InputError, match=f"`{kind}`"):
        plain(reading(tmp_path, row))


@pytest.mark.parametrize(
    "text", ['{"role": "admin", "rights": ["read"]}', "[1, 2]", '[{"name": "x"}]', "[see note]"]
)
def test_other_json_stays_text(tmp_path: Path, text: str) -> None:
    for row in ({"prompt": "q", "completion": text}, {"prompt": "q", "chosen": text, "rejected": "b"}):
        assert text in plain(reading(tmp_path, row))[0].values()
    assert talk(plain(reading(tmp_path, {"question": "q", "answer": text}))[0])[-1] == f"assistant: {text}"


def test_numbers_are_answers() -> None:
    assert talk(plain("num_answer.jsonl")[0])[-1] == "assistant: 4"
    assert [talk(row)[-1] for row in plain("mixed_answers.jsonl")][:3] == [
        "assistant: 2", "assistant: 4", "assistant: 6",
    ]  # fmt: skip


def test_numbers_are_completions_but_no_choices(tmp_path: Path) -> None:
    assert plain(reading(tmp_path, {"prompt": "2+2=", "completion": 4.5})) == [
        {"prompt": "2+2=", "completion": "4.5"}
    ]
    with pytest.raises(InputError, match="choices"):
        plain(reading(tmp_path, {"question": "q", "choices": ["x", "y"], "answer": 1}))


def test_a_missing_context_is_no_word() -> None:
    assert [talk(row)[0] for row in plain("nan_input.csv")] == [
        "user: What's the tallest tree?", 'user: Who said "Eureka"?', "user: Name a river.\n\nof Europe",
    ]  # fmt: skip


# Roles ---------------------------------------------------------------------------------------------------------------


def test_swift_tools_are_calls_and_results() -> None:
    [row] = plain("swift_tools.jsonl")
    assert talk(row) == [
        "user: Weather in Porto?", "assistant: get_weather{'city': 'Porto'}", 'tool: {"temp": 19}',
        "assistant: 19 degrees.",
    ]  # fmt: skip
    assert row["tools"][0]["function"]["name"] == "get_weather"


def test_calls_beside_each_other_are_one_turn(tmp_path: Path) -> None:
    calls = [
        {"role": "tool_call", "content": json.dumps({"name": "f", "arguments": {"n": n}})} for n in (1, 2)
    ]
    results = [{"role": "tool_response", "content": {"n": n}} for n in (1, 2)]
    row = {"messages": [user(), said("I look."), *calls, *results, said()]}
    assert talk(plain(reading(tmp_path, row))[0]) == [
        "user: q", "assistant: I look.f{'n': 1}f{'n': 2}", 'tool: {"n": 1}', 'tool: {"n": 2}', "assistant: a",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["greet", "greet_sys"])
def test_an_assistant_may_speak_first(name: str) -> None:
    assert not check(Reading(CASES / f"{name}.jsonl")).problems
    shape, examples = read_examples(CASES / f"{name}.jsonl")
    assert shape == "messages" and all(each.messages[-1].role == "assistant" for each in examples)


def test_two_turns_of_one_role_are_said() -> None:
    assert [each.kind for each in check(Reading(CASES / "two_users.jsonl")).problems] == [
        "roles out of order"
    ]


def test_a_system_prompt_can_be_merged(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be kind."}
    for row, part in (
        ({"messages": [system, user(), said()]}, "messages"),
        ({"prompt": [system, user()], "chosen": [said()], "rejected": [said("b")]}, "prompt"),
        ({"prompt": [system, user()], "completion": [said()], "label": True}, "prompt"),
    ):
        [read] = plain(reading(tmp_path, row, fixes=("merge_system",)))
        assert talk(read, part)[0] == "user: Be kind.\n\nq"
    [read] = plain(
        reading(tmp_path, {"messages": [system, said("Hi."), user(), said()]}, fixes=("merge_system",))
    )
    assert talk(read) == ["assistant: Hi.", "user: Be kind.\n\nq", "assistant: a"]


def test_steps_reach_all_that_a_turn_says(tmp_path: Path) -> None:
    hidden = "a\u200bb"
    turns = [user(), said(hidden, reasoning_content=hidden, tool_calls=[call(hidden)])]
    where = reading(tmp_path, {"messages": turns})
    assert [each.kind for each in check(where).problems] == ["hidden characters"]
    cleaned = reading(tmp_path, {"messages": turns}, fixes=("clean", "trim"))
    assert talk(plain(cleaned)[0])[1] == "assistant: (ab) abweather{'city': 'ab'}"
    assert not check(cleaned).problems
    token = "hf_" + "aB3dE6gH9" * 4
    for turn in (said(reasoning_content=token), said(tool_calls=[call(token)])):
        assert [each.kind for each in check(reading(tmp_path, {"messages": [user(), turn]})).problems] == [
            "secrets"
        ]


# Other dialects ------------------------------------------------------------------------------------------------------

ANTHROPIC = {
    "system": "Be kind.",
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    "messages": [
        user(),
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Rain."}]},
    ],
}  # fmt: skip
BEDROCK = {
    "system": [{"text": "Be kind."}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]},
    "messages": [
        {"role": "user", "content": [{"text": "q"}]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "I look."},
            {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo"}}},
        ]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "rain"}]}}]},
        {"role": "assistant", "content": [{"text": "Rain."}]},
    ],
}  # fmt: skip
GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be kind."}]},
    "tools": [{"functionDeclarations": [{"name": "weather", "parameters": {"type": "object"}}]}],
    "contents": [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [
            {"text": "hm", "thought": True}, {"text": "I look."},
            {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
        ]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": "rain"}}]},
        {"role": "model", "parts": [{"text": "Rain."}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("row", [ANTHROPIC, BEDROCK, GEMINI], ids=["anthropic", "bedrock", "gemini"])
def test_parts_of_other_dialects(tmp_path: Path, row: dict[str, Any]) -> None:
    [read] = plain(reading(tmp_path, row))
    assert talk(read) == [
        "system: Be kind.", "user: q", "assistant: (hm) I look.weather{'city': 'Oslo'}", "tool: rain",
        "assistant: Rain.",
    ]  # fmt: skip
    assert read["tools"][0]["function"] | {"description": "d"} == {
        "name": "weather", "description": "d", "parameters": {"type": "object"},
    }  # fmt: skip
    assert check(reading(tmp_path, row)).unused_fields == ()


@pytest.mark.parametrize(
    "part", [{"type": "image_url", "image_url": {"url": "x"}}, {"image": {"format": "png"}}]
)
def test_what_is_no_text_is_refused(tmp_path: Path, part: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="only text is trained"):
        plain(reading(tmp_path, {"messages": [{"role": "user", "content": [part]}, said()]}))


@pytest.mark.parametrize("calls", ["not json", [{"function": {"arguments": "{}"}}], [7]])
def test_calls_that_cannot_be_read_are_refused(tmp_path: Path, calls: Any) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl:1: messages\[1\]"):
        plain(reading(tmp_path, {"messages": [user(), said("", tool_calls=calls)]}))


# Preferences as annotation tools and arenas export them --------------------------------------------------------------

PREFERENCES = CASES.parent / "preferences"
BETTER = {
    "About nine minutes for a firm yolk.", "A trucker's hitch, tightened twice.",
    "Yes, it gains flavour and is easier to score.", "It tells when a bolt has the set tightness.",
    "They rest then, so cuts heal before growth.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ties"),
    [
        ("arena33k.jsonl", 2), ("arena55k.jsonl", 2), ("argilla2.jsonl", 0), ("helpsteer2.jsonl", 1),
        ("helpsteer3.jsonl", 1), ("labelstudio_min.json", 0),
    ],
)  # fmt: skip
def test_verdicts_of_exports_keep_their_direction(name: str, ties: int) -> None:
    rows = [found.row for found in plain_rows(Reading(PREFERENCES / name)).rows]
    refused = [row for row in rows if isinstance(row, InputError)]
    chosen = [row["chosen"] for row in rows if not isinstance(row, InputError)]
    assert [row.title for row in refused] == ["No answer is preferred"] * ties and len(chosen) == 5 - ties
    assert {side if isinstance(side, str) else side[-1]["content"] for side in chosen} <= BETTER


@pytest.mark.parametrize(
    ("verdicts", "first"),
    [
        ([["response_1"], ["response_1"]], [True, True]),
        ([["response_2", "response_2", "response_1"], ["response_1"]], [False, True]),
        ([2, 1], [False, False]),
        ([-1, 3], [True, False]),
    ],
)
def test_verdicts_alone_tell_their_direction(tmp_path: Path, verdicts: list[Any], first: list[bool]) -> None:
    name = "preference.responses" if isinstance(verdicts[0], list) else "preference_strength"
    rows = [{"prompt": "q", "response_1": "one", "response_2": "two", name: verdict} for verdict in verdicts]
    assert [row["chosen"] == "one" for row in plain(reading(tmp_path, *rows))] == first


def test_a_dialogue_of_several_turns_in_lists(tmp_path: Path) -> None:
    row = {
        "prompt": '["q", "r"]', "response_a": '["a", "b"]', "response_b": '["c", "d"]', "winner_model_a": 0,
        "winner_model_b": 1, "winner_tie": 0,
    }  # fmt: skip
    [read] = plain(reading(tmp_path, row))
    assert talk(read, "chosen") == ["user: q", "assistant: c", "user: r", "assistant: d"]
    with pytest.raises(InputError, match="differ in length"):
        plain(reading(tmp_path, row | {"response_a": '["a"]'}))


def test_tools_that_are_a_word_are_not_used(tmp_path: Path) -> None:
    assert check(reading(tmp_path, {"question": "q", "answer": "a", "tools": "hammer"})).unused_fields == (
        "tools",
    )
    rows = [{"messages": [user(), said()], "tools": tools} for tools in (json.dumps([TOOL]), "broken [")]
    assert [each.kind for each in check(reading(tmp_path, *rows)).problems] == ["rows that cannot be read"]

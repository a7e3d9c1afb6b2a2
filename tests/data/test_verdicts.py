"""Verdicts of annotators in exports and public data: each keeps its direction, or is refused by name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tuner_tui.data.checking.checks import check
from tuner_tui.data.recognition.answer_columns import Answers, answer_columns
from tuner_tui.data.recognition.columns import Columns
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.recognition.verdict_words import word_of
from tuner_tui.data.rows.faults import LeftOut
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.data.rows.preference import read_pairs, read_rated
from tuner_tui.errors import InputError
from tuner_tui.feedback.importing import read_import

Row = dict[str, Any]


def write(tmp_path: Path, rows: list[Row], name: str = "rows.jsonl") -> Path:
    path = tmp_path / name
    if name.endswith(".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def last(side: Any) -> str:
    return side if isinstance(side, str) else str(side[-1]["content"])


def outcomes(path: Path, *mapping: str) -> list[str]:
    """What is chosen in each row, or why nothing is."""
    found: list[str] = []
    for _, _, row in plain_rows(Reading(path, mapping=mapping)).rows:
        if isinstance(row, LeftOut):
            found.append(row.reason)
        elif isinstance(row, InputError):
            raise row
        else:
            found.append(last(row["chosen"]))
            assert last(row["rejected"]) != last(row["chosen"])
    return found


def sided(
    verdict: Any, name: str = "winner", sides: tuple[str, str] = ("response_a", "response_b"), **more: Any
) -> Row:
    return {"prompt": "q", sides[0]: "one", sides[1]: "two", name: verdict, **more}


NUMBERED = ("response_1", "response_2")


@pytest.mark.parametrize(
    ("word", "kind", "place"),
    [
        ("model_a", "choice", 0), ("B", "choice", 1), ("[[A]]", "choice", 0), ("[[C]]", "tie", -1),
        ("Response B", "choice", 1), ("response_b", "choice", 1), ("left", "choice", 0), ("Right", "choice", 1),
        ("Assistant A", "choice", 0), ("the second one", "choice", 1), ("A is a bit better", "choice", 0),
        ("Response B is much better than Response A", "choice", 1), ("A>B", "choice", 0), ("A << B", "choice", 1),
        ("B>>A", "choice", 1), ("A=B", "tie", -1), ("tie", "tie", -1), ("Tie (bothbad)", "both bad", -1),
        ("both_bad", "both bad", -1), ("Neither is good", "both bad", -1), ("about the same", "tie", -1),
        ("Both are good", "tie", -1), ("no preference", "tie", -1), ("none", "tie", -1), ("nan", "none", -1),
        ("", "none", -1), ("skipped", "none", -1), ("1", "number", -1), ("response_2", "number", -1),
        ("A is not better", "unknown", -1), ("A or B", "unknown", -1), ("A is worse", "unknown", -1),
        ("creative writing", "unknown", -1), ("B is a better answer", "choice", 1),
    ],
)  # fmt: skip
def test_words(word: str, kind: str, place: int) -> None:
    found = word_of(word, Answers(("response_a", "response_b"), ("a", "b"), "letters"))
    assert (found.kind, found.place) == (kind, place)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("prompt", "response_a", "response_b", "model_a", "model_b"), ("response_a", "response_b")),
        (("Prompt", "Response 1", "Response 2"), ("Response 1", "Response 2")),
        (("q", "answer1", "answer2", "answer3"), ("answer1", "answer2", "answer3")),
        (("p", "human_ref_B", "human_ref_A"), ("human_ref_A", "human_ref_B")),
        (
            ("p", "response_0", "response_1", "response_0_sha256", "response_1_sha256"),
            ("response_0", "response_1"),
        ),
        (("p", "left", "right"), ("left", "right")),
        (("p", "model_a_response", "model_b_response"), ("model_a_response", "model_b_response")),
        (("p", "model_a", "model_b"), None),
        (("p", "response_b", "response_c"), None),
        (("p", "reason_a", "reason_b"), None),
        (("question", "answer", "context"), None),
    ],
)
def test_columns_of_answers(names: tuple[str, ...], expected: tuple[str, ...] | None) -> None:
    found = answer_columns(Columns(({name: f"text of {name}" for name in names},)))
    assert (found and found.names) == expected


# Formats -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_lmsys_lists_and_flags(tmp_path: Path, name: str) -> None:
    def row(number: int, *flags: int, answer: str = "one") -> Row:
        lists = {"prompt": [f"q{number}"], "response_a": [answer], "response_b": ["two"]}
        names = ("winner_model_a", "winner_model_b", "winner_tie")
        return {key: json.dumps(value) for key, value in lists.items()} | dict(zip(names, flags, strict=True))

    rows = [row(1, 1, 0, 0), row(2, 0, 1, 0), row(3, 0, 0, 1)]
    path = write(tmp_path, rows, name)
    assert outcomes(path) == ["one", "two", "tie"]
    [first, _] = read_pairs(path)
    assert first.prompt[0].content == "q1"  # type: ignore[union-attr]
    assert outcomes(write(tmp_path, [row(1, 0, 1, 0)], name)) == ["two"]
    with pytest.raises(InputError, match="contradicts"):
        outcomes(write(tmp_path, [*rows, row(4, 1, 1, 0)], name))


def test_lmsys_lists_that_are_broken_are_never_text(tmp_path: Path) -> None:
    good = {"prompt": '["q"]', "response_a": '["one"]', "response_b": '["two"]', "winner": "model_a"}
    half = good | {"response_a": '["a \\ud83d"]'}  # half of an emoji
    nothing = good | {"response_b": "[null]"}
    assert outcomes(write(tmp_path, [good, half, nothing])) == ["one", "a �", "without an answer"]
    for broken in ('["one"', "one", "[]", '["one", "more"]'):
        with pytest.raises(InputError, match=r"rows\.jsonl:3"):
            outcomes(write(tmp_path, [good, good, good | {"response_a": broken}]))


def turns(*texts: str) -> list[Row]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def test_arena_conversations(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"conversation_a": turns("q", "one"), "conversation_b": turns("q", "two"), "winner": winner, "turn": 1,
         "model_a": "m", "model_b": "n", "toxic_chat_tag": {"roberta-large": {"flagged": False}}}
        for winner in ("model_b", "tie", "tie (bothbad)", "both_bad", "model_a")
    ]  # fmt: skip
    assert outcomes(write(tmp_path, rows)) == ["two", "tie", "both bad", "both bad", "one"]
    parts = [{"type": "text", "text": "one", "image": None, "mimeType": None}]
    rows[0]["conversation_a"][1]["content"] = parts  # as the 140k file has them
    assert outcomes(write(tmp_path, rows[:1])) == ["two"]


def test_a_judgement_of_the_first_turn_is_of_that_turn(tmp_path: Path) -> None:
    row = {
        "conversation_a": turns("q", "one", "r", "three"), "conversation_b": turns("q", "two", "r", "four"),
        "winner": "model_a", "judge": "expert_1", "turn": 1,
    }  # fmt: skip
    assert outcomes(write(tmp_path, [row])) == ["one"]  # MT-bench
    assert outcomes(write(tmp_path, [row | {"turn": 2}])) == ["three"]


def argilla(*values: Any, status: list[str] | None = None, suggestion: Any = None, **more: Any) -> Row:
    users = [f"u{number}" for number, _ in enumerate(values)]
    return {
        "prompt": "q", "response_1": "one", "response_2": "two", "preference.responses": [*values] or None,
        "preference.responses.users": users, "preference.responses.status": status or ["submitted"] * len(values),
        "preference.suggestion": suggestion, "preference.suggestion.agent": "judge", **more,
    }  # fmt: skip


def test_argilla_columns(tmp_path: Path) -> None:
    rows = [
        argilla("response_2"),
        argilla("response_2", "response_1", "response_2"),
        argilla("response_1", "response_2"),
        argilla("response_2", "response_1", status=["discarded", "submitted"]),
        argilla("response_2", "response_1", status=["submitted", "draft"]),
        argilla(suggestion="response_1"),
    ]
    assert outcomes(write(tmp_path, rows)) == ["two", "two", "tie", "one", "two", "not annotated"]


def test_argilla_rankings(tmp_path: Path) -> None:
    third: Row = {"response_3": "three"}
    ranked = [
        argilla(["response_3", "response_2", "response_1"], **third),
        argilla([{"value": f"response_{n}", "rank": rank} for n, rank in ((1, 2), (2, 1), (3, 3))], **third),
        argilla({"value": ["response_1", "response_2", "response_3"], "rank": [1, 1, 1]}, **third),
    ]  # fmt: skip
    rows = [
        {name.replace("preference", "order of merit"): value for name, value in row.items()} for row in ranked
    ]
    assert outcomes(write(tmp_path, rows)) == ["three", "two", "tie"]


def test_argilla_records(tmp_path: Path) -> None:
    fields = {"prompt": "q", "response-1": "one", "response-2": "two"}
    second = {"value": "response-2"}
    rows = [
        {
            "id": "1",
            "fields": fields,
            "responses": {"preference": [{**second, "user_id": "u"}]},
            "suggestions": {},
        },
        {
            "id": "2",
            "fields": fields,
            "responses": {},
            "suggestions": {"preference": {"value": "response-1"}},
        },
    ]
    assert outcomes(write(tmp_path, rows)) == ["two", "not annotated"]
    older = [
        {
            "fields": fields,
            "responses": [{"values": {"preference": second}, "status": "submitted", "user_id": "u"}],
        },
        {
            "fields": fields,
            "responses": [{"values": {"preference": second}, "status": "discarded", "user_id": "u"}],
        },
    ]
    assert outcomes(write(tmp_path, older)) == ["two", "not annotated"]
    hub: list[Row] = [
        {
            **fields,
            "preference": [{**second, "user_id": "u", "status": "submitted"}],
            "preference-suggestion": None,
        },
        {**fields, "preference": {"value": ["response-1"], "user_id": ["u"], "status": ["submitted"]}},
        {**fields, "preference": [], "preference-suggestion": "response-1"},
    ]
    assert outcomes(write(tmp_path, hub)) == ["two", "one", "not annotated"]


def task(*selected: str, to_name: Any = ("answer1", "answer2"), cancelled: tuple[int, ...] = ()) -> Row:
    return {
        "id": 1, "data": {"prompt": "q", "answer1": "one", "answer2": "two"}, "predictions": [],
        "annotations": [
            {"id": number, "completed_by": {"id": number, "email": "x@example.com"},
             "was_cancelled": number in cancelled, "result": [
                 {"from_name": "pref", "to_name": to_name, "type": "pairwise", "value": {"selected": side}}]}
            for number, side in enumerate(selected)
        ],
    }  # fmt: skip


def test_label_studio_tasks(tmp_path: Path) -> None:
    rows = [
        task("left"), task("right"), task("left", to_name="answer2,answer1"), task("left", "right", "right"),
        task("left", "right"), task("right", "left", cancelled=(0,)), task("left", cancelled=(0,)), task(),
    ]  # fmt: skip
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(rows))
    assert outcomes(path) == ["one", "two", "two", "two", "tie", "one", "not annotated", "not annotated"]


@pytest.mark.parametrize("wrap", [str, lambda side: {"selected": side}, lambda side: [{"selected": side}]])
@pytest.mark.parametrize("name", ["comparison", "welche ist besser"])
def test_label_studio_flat(tmp_path: Path, wrap: Any, name: str) -> None:
    rows = [
        {"id": 1, "prompt": "q", "answer1": "one", "answer2": "two", name: wrap(side), "annotator": 1,
         "annotation_id": number, "lead_time": 1.0}
        for number, side in enumerate(("right", "left"))
    ]  # fmt: skip
    path = tmp_path / "flat.json"
    path.write_text(json.dumps(rows))
    assert outcomes(path) == ["two", "one"]


@pytest.mark.parametrize("values", [[2], [1, 3], [-3, -1], [0, 2], ["-2", "1"]])
def test_helpsteer_scales_have_one_direction_whatever_is_in_the_sample(
    tmp_path: Path, values: list[Any]
) -> None:
    for name, sides in (
        ("preference_strength", NUMBERED),
        ("overall_preference", ("response1", "response2")),
    ):
        rows = [sided(value, name, sides) for value in values]
        expected = ["tie" if int(value) == 0 else "one" if int(value) < 0 else "two" for value in values]
        assert outcomes(write(tmp_path, rows)) == expected


def test_a_scale_against_its_own_sentence_is_refused(tmp_path: Path) -> None:
    good = sided(-2, "preference_strength", NUMBERED, preference_statement="Response 1 is better")
    assert outcomes(write(tmp_path, [good])) == ["one"]
    with pytest.raises(InputError, match=r"`preference_strength` is -2, and `preference_statement` says"):
        outcomes(
            write(
                tmp_path,
                [good, good | {"preference_statement": "Response 2 is slightly better than Response 1"}],
            )
        )
    with pytest.raises(InputError, match="expected -3 to 3"):
        outcomes(write(tmp_path, [sided(5, "preference_strength", NUMBERED)]))


def test_helpsteer_turns_are_turns(tmp_path: Path) -> None:
    row = sided(-1, "preference_strength", NUMBERED)
    row["prompt"] = "q\n<extra_id_1>Assistant\na\n<extra_id_1>User\nr"
    [pair] = read_pairs(write(tmp_path, [row]))
    assert [(turn.role, turn.content) for turn in pair.prompt] == [  # type: ignore[union-attr]
        ("user", "q"), ("assistant", "a"), ("user", "r"),
    ]  # fmt: skip


def test_helpsteer_attributes_are_0_to_4_whatever_the_first_rows_have(tmp_path: Path) -> None:
    more = {"correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 2}
    rows = [{"prompt": f"q{n}", "response": f"a{n}", "helpfulness": n, **more} for n in (3, 1)]
    assert [rated.label for rated in read_rated(write(tmp_path, rows))] == [True, False]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (sided("one"), "one"),  # the answer itself
        (sided("gpt", model_a="claude", model_b="gpt"), "two"),
        ({"prompt": "q", "output_1": "one", "output_2": "two", "preference": 1.98}, "two"),  # AlpacaEval
        ({"prompt": "q", "output_1": "one", "output_2": "two", "preference": 1.5}, "tie"),
        ({"prompt": "q", "output_1": "one", "output_2": "two", "preference": 0}, "tie"),
        ({"history": "q", "human_ref_A": "one", "human_ref_B": "two", "labels": 0, "score_A": 9, "score_B": 8}, "two"),
        ({"prompt": "q", "response_0": "one", "response_1": "two", "better_response_id": 0}, "one"),
        ({"question": {"full_text": "q"}, "answer_0": "one", "answer_1": "two", "score_0": 0.0, "score_1": 0.0}, "tie"),
        ({"prompt": "q", "response_a": "one", "response_b": "two", "rating_a": 2, "rating_b": 4}, "two"),
        ({"question": "q", "response_A": "one", "response_B": "two", "label": "B>A"}, "two"),
        ({"text": "q", "left": "one", "right": "two", "winner": "right", "participant_id": "p"}, "two"),
        (sided({"value": "b"}, "verdict"), "two"),
        (sided(None), "not annotated"),
        ({"messages": turns("q", "a", "r"), "response_a": "one", "response_b": "two", "winner": "b"}, "two"),
    ],
)  # fmt: skip
def test_other_formats(tmp_path: Path, row: Row, expected: str) -> None:
    decided = row | {"winner": "a"} if expected == "not annotated" else row
    assert outcomes(write(tmp_path, [row, decided]))[0] == expected


# What is not stated is asked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sides"),
    [
        ([1, 2], ("response_a", "response_b")),
        ([1, 1], ("response_a", "response_b")),
        ([0, 1], NUMBERED),
        ([-2, 2], NUMBERED),
        ([1, 7, 4], NUMBERED),
        ([True, False], ("response_a", "response_b")),
        ([True, True], NUMBERED),
        (["response 1", "response 2"], ("response_a", "response_b")),
        (["-1", "3"], ("answer_a", "answer_b")),
    ],
)
def test_a_number_whose_direction_is_not_stated_is_refused(
    tmp_path: Path, values: list[Any], sides: tuple[str, str]
) -> None:
    path = write(tmp_path, [sided(value, "preference", sides) for value in values])
    with pytest.raises(InputError, match="The direction is not stated") as caught:
        read_pairs(path)
    assert "`preference` is" in caught.value.message and f"`{sides[0]}`" in caught.value.message
    assert "--map 'verdict = {preference} <" in caught.value.hint


def test_a_late_number_of_another_scale_is_refused(tmp_path: Path) -> None:
    rows = [sided(1, "preference", NUMBERED) for _ in range(60)]
    assert outcomes(write(tmp_path, rows)) == ["one"] * 60  # the number is in the answer's name
    with pytest.raises(InputError, match=r"rows\.jsonl:61: `preference` is 4, and nothing says"):
        read_pairs(write(tmp_path, [*rows, sided(4, "preference", NUMBERED)]))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("verdict = {preference} < 4",), ["one", "tie", "two"]),
        (("verdict = {preference} > 4",), ["two", "tie", "one"]),
        (
            ("verdict = {preference} < 1.5", "first = {response_b}", "second = {response_a}"),
            ["two", "one", "one"],
        ),
    ],
)
def test_a_stated_direction(tmp_path: Path, lines: tuple[str, ...], expected: list[str]) -> None:
    path = write(tmp_path, [sided(value, "preference") for value in (1, 4, 7)])
    assert outcomes(path, *lines) == expected


def test_a_stated_direction_of_items_of_a_list_and_of_a_tool(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "responses": ["one", "two"], "best": best} for best in (0, 1)]
    lines = ("first = {responses.0}", "second = {responses.1}", "verdict = {best} < 0.5", "prompt = {prompt}")
    assert outcomes(write(tmp_path, rows), *lines) == ["one", "two"]
    rows = [argilla(4, 1, status=["submitted", "discarded"]), argilla(2)]
    path = write(tmp_path, rows)
    with pytest.raises(InputError, match="The direction is not stated"):
        outcomes(path)
    assert outcomes(path, "verdict = {preference.responses} < 3") == ["two", "one"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "response_1": "one", "response_2": "two", "assessment": 2},
        {"prompt": "q", "response_1": "one", "response_2": "two", "assessment": "the funnier one"},
        {"prompt": "q", "responses": ["one", "two"], "best": 1},
        {"messages": turns("q"), "answer_a": "one", "answer_b": "two", "assessment": "x"},
    ],
)
def test_answers_with_a_verdict_that_is_not_understood_are_no_prompts(tmp_path: Path, row: Row) -> None:
    path = write(tmp_path, [row])
    with pytest.raises(InputError, match="not understood") as caught:
        plain_rows(Reading(path))
    assert ("assessment" in row or "best" in row) and caught.value.message.rstrip(".").endswith([*row][-1])
    assert plain_rows(Reading(path, asked="prompts")).layout.shape == "prompts"  # where the person says so


def test_a_word_that_is_not_understood_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"rows\.jsonl:2: `winner` is 'foo'; expected one of response_a, response_b"
    ):
        read_pairs(write(tmp_path, [sided("a"), sided("foo")]))


# Ties and scores -----------------------------------------------------------------------------------------------------


def test_rows_without_a_preference_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, [sided("tie"), sided("a"), sided("both bad"), sided("tie"), sided("b")])
    report = check(Reading(path))
    [problem] = report.problems
    assert (report.rows, problem.level, problem.count, problem.rows) == (2, "note", 3, ("1", "3", "4"))
    assert problem.message == "2 ties, 1 both bad"
    assert len(read_for("dpo", Reading(path))[1]) == 2
    assert len(read_for("kto", Reading(path))[1]) == 4
    assert len(read_for("dpo", Reading(path, fixes=("drop_broken",)))[1]) == 2


def test_nothing_but_ties_is_no_data(tmp_path: Path) -> None:
    path = write(tmp_path, [sided("tie"), sided("tie"), sided("a")])
    assert len(read_pairs(path)) == 1
    path = write(tmp_path, [sided("tie"), sided("both bad")])
    assert [each.level for each in check(Reading(path)).problems] == ["error"]
    for method in ("dpo", "kto"):
        with pytest.raises(InputError, match="1 tie, 1 both bad"):
            read_for(method, Reading(path))


def test_scores_in_csv_are_numbers(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "response": f"a{n}", "rating": n} for n in (1, 5, 3, 4)]
    assert [each.label for each in read_rated(write(tmp_path, rows, "rows.csv"))] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(("first", "late"), [((1, 5), 9), ((0, 1), 4), ((2, 4), 0)])
def test_a_score_beyond_the_scale_of_the_first_rows_is_refused(
    tmp_path: Path, first: tuple[int, int], late: int
) -> None:
    rows = [{"prompt": "q", "response": f"a{n}", "score": first[n % 2]} for n in range(60)]
    assert len(read_rated(write(tmp_path, rows))) == 60
    with pytest.raises(InputError, match=rf"rows\.jsonl:61: `score` is {late}") as caught:
        read_rated(write(tmp_path, [*rows, {"prompt": "q", "response": "a", "score": late}]))
    assert "--map 'label={score} > LIMIT'" in caught.value.hint


def test_open_webui_feedback(tmp_path: Path) -> None:
    def feedback(rating: Any, answer: str) -> Row:
        messages = {
            "1": {"id": "1", "parentId": None, "role": "user", "content": "q"},
            "2": {"id": "2", "parentId": "1", "role": "assistant", "content": "other", "model": "n"},
            "3": {"id": "3", "parentId": "1", "role": "assistant", "content": answer, "model": "m"},
        }
        return {
            "id": "f", "user_id": "u", "type": "rating", "data": {"rating": rating, "model_id": "m", "reason": "clear"},
            "meta": {"message_id": "3", "chat_id": "c"},
            "snapshot": {"chat": {"chat": {"history": {"messages": messages, "currentId": "2"}}}},
        }  # fmt: skip

    thought = '<details type="reasoning" done="true">\n<summary>Thought</summary>\n> hm\n</details>\nwise'
    rows = [feedback(1, thought), feedback("-1", "bad"), feedback(1, "good")]
    path = tmp_path / "feedback.json"
    path.write_text(json.dumps(rows))
    rated = read_rated(path)
    assert [(first_of(each), last_of(each), each.label) for each in rated] == [
        ("q", "wise", True), ("q", "bad", False), ("q", "good", True),
    ]  # fmt: skip
    assert rated[0].completion[0].extra == {"reasoning_content": "hm"}  # type: ignore[union-attr]
    rows[1].pop("snapshot")
    path.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"feedback\.json:2: `snapshot.chat` is absent"):
        read_rated(path)


def first_of(rated: Any) -> str:
    return str(rated.prompt[0].content)


def last_of(rated: Any) -> str:
    return str(rated.completion[-1].content)


# Codes, flags and lists of arenas ------------------------------------------------------------------------------------


FILES = ["rows.csv", "rows.jsonl"]


def imported(path: Path, *mapping: str) -> list[tuple[str, tuple[int, ...]]]:
    """What a collection takes of each row: the verdict and the ranks of its answers."""
    rows = read_import(path, mapping).rows
    return [(verdict.verdict, verdict.ranks) for row in rows for verdict in row.verdicts]


@pytest.mark.parametrize("name", FILES)
def test_winners_in_words(tmp_path: Path, name: str) -> None:
    words = ["model_a", "model_b", "tie", "tie (bothbad)", "A ", " b", '["model_b"]', "", "NaN", "nan"]
    path = write(tmp_path, [sided(word) for word in words], name)
    none = "not annotated"
    assert outcomes(path) == ["one", "two", "tie", "both bad", "one", "two", "two", none, none, none]
    a, b = ("choice", (1, 2)), ("choice", (2, 1))
    assert imported(path) == [a, b, ("tie", (1, 1)), ("both_bad", (1, 1)), a, b, b]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("values", [(0, 1, 2), (1, 2, 0.5), (1, 2), (True, False), (1.0, 0.0, 0.5)])
def test_codes_without_a_direction_are_refused_by_name(
    tmp_path: Path, name: str, values: tuple[Any, ...]
) -> None:
    path = write(tmp_path, [sided(value) for value in values], name)
    for read in (outcomes, imported):
        with pytest.raises(InputError, match=r"`winner` is .*and nothing says whether") as told:
            read(path)
        assert "write words in their place" in told.value.hint


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("values", "rule", "chosen"),
    [
        ((0, 1, 0.5), "{winner} < 0.5", ["one", "two", "tie"]),
        ((1, 2, 1.5), "{winner} < 1.5", ["one", "two", "tie"]),
        ((0, 1, 2, 3), "{winner} < 1.5", ["one", "one", "two", "two"]),
        ((True, False), "{winner} > 0.5", ["one", "two"]),
    ],
)
def test_codes_with_a_stated_direction(
    tmp_path: Path, name: str, values: tuple[Any, ...], rule: str, chosen: list[str]
) -> None:
    path = write(tmp_path, [sided(value) for value in values], name)
    assert outcomes(path, f"verdict = {rule}") == chosen


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("values", "middle", "beyond"),
    [((0, 1, 2), "0.5", "2"), ((0, 1, 2), "1.5", "0"), ((1, 2, 0.5), "1.5", "0.5")],
)
def test_a_code_that_is_no_side_of_the_stated_middle_is_refused(
    tmp_path: Path, name: str, values: tuple[Any, ...], middle: str, beyond: str
) -> None:
    """0 or 2 is a tie in such files, and was taken for an answer."""
    path = write(tmp_path, [sided(value) for value in values], name)
    for read in (outcomes, imported):
        with pytest.raises(InputError, match=f"`winner` is {beyond}; expected"):
            read(path, f"verdict = {{winner}} < {middle}")


@pytest.mark.parametrize("name", FILES)
def test_flags_of_which_one_is_missing_are_no_tie(tmp_path: Path, name: str) -> None:
    flags = [(1, 0), (0, ""), ("", 0), (0, 0), ("", 1), ("", "")]
    rows = [
        {"prompt": "q", "response_a": "one", "response_b": "two", "winner_model_a": a, "winner_model_b": b}
        for a, b in flags
    ]
    none = "not annotated"
    assert outcomes(write(tmp_path, rows, name)) == ["one", none, none, "tie", "two", none]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("writes", [json.dumps, str], ids=["json", "python"])
def test_lists_of_texts_in_strings(tmp_path: Path, name: str, writes: Any) -> None:
    """As pandas writes the lists of LMSYS's files."""
    rows = [
        {
            "prompt": writes(["p", "q"]),
            "response_a": writes(["x", "one"]),
            "response_b": writes(["x", "two"]),
            "winner": winner,
        }
        for winner in ("model_b", "model_a")
    ]
    path = write(tmp_path, rows, name)
    assert outcomes(path) == ["two", "one"]
    [first, _] = read_pairs(path)
    assert [turn.content for turn in first.prompt] == ["p", "x", "q"]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("column", ["winner_model", "winning_model", "preferred_model", "best_model"])
def test_the_winner_as_a_model(tmp_path: Path, name: str, column: str) -> None:
    rows = [sided(verdict, column) for verdict in ("model_a", "model_b", "tie")]
    path = write(tmp_path, rows, name)
    assert outcomes(path) == ["one", "two", "tie"]
    assert imported(path) == [("choice", (1, 2)), ("choice", (2, 1)), ("tie", (1, 1))]
    models: Any = {"model_a": "gpt", "model_b": "llama"}
    assert outcomes(write(tmp_path, [sided(v, column, **models) for v in ("gpt", "llama")], name)) == [
        "one",
        "two",
    ]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("column", ["winner_id", "winner_index", "better_model", "vote_type", "chosen_id"])
def test_what_may_be_a_verdict_is_no_note(tmp_path: Path, name: str, column: str) -> None:
    """An import took the answers without it, since it ends like a field that describes a row."""
    path = write(tmp_path, [sided("first", column)], name)
    for read in (outcomes, imported):
        with pytest.raises(InputError, match=column):
            read(path)


def test_nan_in_jsonl_is_explained(tmp_path: Path) -> None:
    path = write(tmp_path, [sided("model_a"), sided(float("nan"))])
    with pytest.raises(InputError, match=r"rows\.jsonl:2") as told:
        outcomes(path)
    assert "NaN" in told.value.hint and "write null" in told.value.hint


# What may be a verdict and is not read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"context": turns("q"), "original_response": "one", "edited_response": "two"}, "edited_response"),
        ({"prompt": "q", "feedback": ["too short"]}, "feedback"),
        ({"input": "p Step 1: x", "label": "p Step 1: +", "task": "GSM8K"}, "label"),
    ],
)
def test_answers_and_verdicts_beside_a_prompt_are_never_left_out_in_silence(
    tmp_path: Path, row: Row, named: str
) -> None:
    path = write(tmp_path, [row, row])
    with pytest.raises(InputError, match=named) as refused:
        outcomes(path)
    assert refused.value.title == "Fields are not understood" and "--map 'prompt = " in str(
        refused.value.hint
    )
    notes = {"prompt": "q", "source": "s", "model_id": "m", "response_id": 4}
    [(_, _, plain)] = plain_rows(Reading(write(tmp_path, [notes]))).rows
    assert plain == {"prompt": "q"}


def test_edits_that_are_better_and_worse_are_pairs(tmp_path: Path) -> None:
    row = {"context": turns("q"), "good_edited_response": "two", "bad_edited_response": "one"}
    assert outcomes(write(tmp_path, [row])) == ["two"]  # HelpSteer3's edit quality


@pytest.mark.parametrize("answer", ["answer", "response"])
def test_ratings_of_one_answer_are_labels(tmp_path: Path, answer: str) -> None:
    def argilla_rating(*values: int, status: str = "submitted") -> Row:
        return {
            "prompt": "q", answer: "one", "rating.responses": list(values), "rating.suggestion": None,
            "rating.responses.users": ["u"] * len(values), "rating.responses.status": [status] * len(values),
        }  # fmt: skip

    rows = [argilla_rating(5), argilla_rating(1), argilla_rating(4, 5), argilla_rating(5, status="draft")]
    path = write(tmp_path, rows)
    assert [example.label for example in read_rated(path)] == [True, False, True]
    with pytest.raises(InputError, match=r"rows\.jsonl:21.*rating\.responses"):
        read_rated(write(tmp_path, [*rows * 5, argilla_rating(1) | {"rating.responses": ["good"]}]))
    tasks = [
        {
            "data": {"prompt": "q", answer: "one"},
            "annotations": [
                {"result": [{"from_name": "rating", "type": "rating", "value": {"rating": stars}}]}
            ],
        }
        for stars in (2, 4)
    ]
    assert [example.label for example in read_rated(write(tmp_path, tasks))] == [False, True]


def test_a_rating_question_for_each_of_two_answers_is_a_verdict(tmp_path: Path) -> None:
    def task(first: int, second: int) -> Row:
        results = [
            {"from_name": name, "type": "rating", "value": {"rating": stars}}
            for name, stars in (("rating1", first), ("rating2", second))
        ]
        return {
            "data": {"prompt": "q", "answer1": "one", "answer2": "two"},
            "annotations": [{"result": results}],
        }

    assert outcomes(write(tmp_path, [task(1, 5), task(4, 2), task(3, 3)])) == ["two", "one", "tie"]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"prompt": "q", "response_a": "one", "response_b": "two", "strength": -2}, "strength"),
        ({"instruction": "q", "input": "", "output": ["one", "two"]}, "output"),
    ],
)
def test_what_may_be_a_verdict_is_not_imported_as_something_else(
    tmp_path: Path, row: Row, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        read_import(write(tmp_path, [row, row]))


def test_ranks_in_message_trees_are_not_lost_in_an_import(tmp_path: Path) -> None:
    tree: list[Row] = [
        {"message_id": "1", "parent_id": None, "text": "q", "role": "prompter", "rank": None},
        *(
            {"message_id": str(rank + 2), "parent_id": "1", "text": text, "role": "assistant", "rank": rank}
            for rank, text in enumerate(("two", "one"))
        ),
    ]
    with pytest.raises(InputError, match="rank"):
        read_import(write(tmp_path, tree))


def test_verdicts_on_answers_that_are_trained_on_alike_are_told(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"input": f"question {n}", "output": f"reply {n}", "user_feedback": n % 2} for n in range(4)
    ]
    path = write(tmp_path, rows)
    [problem] = check(Reading(path)).problems
    assert problem.level == "note" and problem.count == 4 and "user_feedback" in problem.message
    plain = [{name: value for name, value in row.items() if name != "user_feedback"} for row in rows]
    assert not check(Reading(write(tmp_path, [row | {"source": "s"} for row in plain]))).problems

"""Every layout that people keep rows in is recognised, and read as what it says; the files stand in `shapes`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuner_tui.config.spec import DataSpec
from tuner_tui.data.recognition.columns import Columns
from tuner_tui.data.recognition.formats import layouts_of
from tuner_tui.data.recognition.reading import Reading, plain_rows, training_reading
from tuner_tui.data.rows.labels import label_reader
from tuner_tui.data.rows.preference import read_pairs, read_rated
from tuner_tui.data.rows.types import read_examples
from tuner_tui.errors import InputError

FOLDER = Path(__file__).parent / "shapes"
EXPECTED: list[dict[str, Any]] = json.loads((FOLDER.parent / "shapes.json").read_text())


def said(row: dict[str, Any]) -> list[str]:
    """A row in plain form as lines."""
    lines = []
    for part, value in row.items():
        if part == "tools":
            lines.append(f"tools: {value[0]['function']['name']}")
        elif isinstance(value, list):
            for turn in value:
                content = turn["content"] or str(turn["tool_calls"][0]["function"]["arguments"])
                lines.append(f"{part}.{turn['role']}: {content}")
        else:
            lines.append(f"{part}: {value}")
    return lines


def test_no_file_is_forgotten() -> None:
    assert {each["file"] for each in EXPECTED} == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: each["file"])
def test_a_layout_is_recognised_and_read(expected: dict[str, Any]) -> None:
    plain = plain_rows(Reading(FOLDER / expected["file"]))
    rows = [row for _, _, row in plain.strict()]
    assert plain.layout.shape == expected["shape"] == expected["file"].split("-")[0]
    assert plain.layout.variant == expected["variant"]
    assert len(rows) == expected["rows"]
    assert said(rows[0]) == expected["first"]
    assert 0.5 <= plain.layout.confidence <= 1
    assert "`" in plain.layout.reason


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: each["file"])
def test_a_layout_reaches_the_methods_that_take_its_shape(expected: dict[str, Any]) -> None:
    reading = Reading(FOLDER / expected["file"])
    match expected["shape"]:
        case "preference":
            pairs = read_pairs(reading)
            answer = pairs[0].chosen if isinstance(pairs[0].chosen, str) else pairs[0].chosen[-1].content
            assert answer == "Eight."
        case "rated":
            assert {rated.label for rated in read_rated(reading)} == {True, False}
        case "prompts":
            with pytest.raises(InputError, match="does not train on"):
                read_examples(reading)
        case shape:
            assert read_examples(reading)[0] == shape


def row_layout(**row: Any) -> tuple[str, dict[str, Any]]:
    layout = layouts_of(Columns((row,)))[0]
    return layout.shape, layout.convert(row)


def test_exchanges_in_a_list_become_turns() -> None:
    shape, row = row_layout(conversation=[{"input": "q", "output": "a"}, {"input": "r", "output": "b"}])
    assert shape == "messages"
    assert said(row) == [
        "messages.user: q",
        "messages.assistant: a",
        "messages.user: r",
        "messages.assistant: b",
    ]


def test_an_open_dialogue_with_ranked_answers() -> None:
    answers = [{"answer": "good", "model": "m", "rank": 1}, {"answer": "bad", "model": "n", "rank": 7}]
    shape, row = row_layout(prompt="\n\nHuman: q\n\nAssistant: ", answers=answers)
    assert shape == "preference"
    assert said(row) == ["prompt.user: q", "chosen.assistant: good", "rejected.assistant: bad"]


def test_two_answers_with_a_score_each() -> None:
    shape, row = row_layout(
        question={"full_text": "q", "id": "1"}, answer_0="bad", answer_1="good", score_0=-0.5, score_1=0.5
    )
    assert shape == "preference"
    assert said(row) == ["prompt: q", "chosen: good", "rejected: bad"]


def test_a_choice_among_summaries() -> None:
    shape, row = row_layout(
        info={"post": "long", "id": "1"}, summaries=[{"text": "bad"}, {"text": "good"}], choice=1
    )
    assert shape == "preference"
    assert said(row) == ["prompt: long", "chosen: good", "rejected: bad"]


@pytest.mark.parametrize(
    ("values", "good", "bad"),
    [
        ([0.1, 0.9], 0.6, 0.4),
        ([-2.0, 3.5], 0.1, -0.1),
        ([0, 4, 2], 3, 2),
        ([1, 5], 4, 3),
        ([2, 9], 6, 5),
        ([10, 90], 51, 50),
        (["good", "bad"], "good", "bad"),
        ([1, -1], 1, -1),
        (["1", "0"], "1", "0"),
    ],
)
def test_scores_are_good_above_the_middle_of_their_scale(values: list[Any], good: Any, bad: Any) -> None:
    reader = label_reader(values, "score")
    assert reader is not None
    assert (reader(good), reader(bad)) == (True, False)


def test_labels_of_topics_are_no_ratings() -> None:
    assert label_reader(["sports", "politics"], "label") is None
    assert row_layout(text="t", label="sports")[0] == "text"


# Mapped by hand --------------------------------------------------------------------------------------------


def mapped(tmp_path: Path, rows: list[dict[str, Any]], *lines: str, **more: Any) -> list[list[str]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = DataSpec(train=str(path), mapping=lines, **more)
    return [said(row) for _, _, row in plain_rows(training_reading(spec)).strict()]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["prompt = {ask}\\n{ctx}", "completion = {reply}"], ["prompt: q\nc", "completion: a"]),
        (
            ["system = Be {mood}.", "user = {ask}", "assistant = {reply}"],
            ["messages.system: Be kind.", "messages.user: q", "messages.assistant: a"],
        ),
        (["text = {ask} -> {reply}"], ["text: q -> a"]),
        (["prompt={ask}", "chosen={reply}", "rejected={worse}"], ["prompt: q", "chosen: a", "rejected: b"]),
        (
            ["prompt={ask}", "completion={reply}", "label={stars} > 3"],
            ["prompt: q", "completion: a", "label: True"],
        ),
        (["prompt = {ask}"], ["prompt: q"]),
        (["messages = {talk}"], ["messages.user: q", "messages.assistant: a"]),
        (["text = {deep.list.1}{{}}"], ["text: two{}"]),
    ],
)
def test_a_mapping_makes_any_shape(tmp_path: Path, lines: list[str], expected: list[str]) -> None:
    row = {
        "ask": "q", "ctx": "c", "reply": "a", "worse": "b", "mood": "kind", "stars": 4,
        "talk": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "deep": {"list": ["one", "two"]},
    }  # fmt: skip
    assert mapped(tmp_path, [row], *lines) == [expected]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["promt = {ask}"], "expected PART = TEMPLATE"),
        (["prompt = ask"], "at least one {column}"),
        (["prompt = {nothing}"], "no column 'nothing'; there are ask"),
        (["chosen = {ask}"], "data.mapping has chosen"),
        (["prompt = {ask}", "completion = {ask}", "label = {ask}"], "neither true/false nor a score"),
    ],
)
def test_a_wrong_mapping_is_explained(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        mapped(tmp_path, [{"ask": "q"}], *lines)
    assert complaint in f"{caught.value.title}: {caught.value.message}"


def test_a_mapping_and_another_shape_do_not_agree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"makes prompts, and data\.shape is text"):
        mapped(tmp_path, [{"ask": "q"}], "prompt = {ask}", shape="text")

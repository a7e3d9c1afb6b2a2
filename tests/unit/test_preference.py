"""Pairs and rated answers read from files, and what is wrong with them by file and line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.data.files.listing import look_at_data
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.rows.for_method import OtherMethod, read_for
from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.data.rows.types import Message
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "No."}
PAIR = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
UP = {"prompt": [USER], "completion": [GOOD], "label": True}
DOWN = {"prompt": [USER], "completion": [BAD], "label": False}
ASKED, SAID, REFUSED = Message("user", "Hi"), Message("assistant", "Hello."), Message("assistant", "No.")


def reading(tmp_path: Path, *rows: dict[str, Any], asked: Any = "auto") -> Reading:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Reading(path, asked)


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"prompt": "Hi", "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER], "chosen": "Hello.", "rejected": "No."},
    ],
    ids=["turns", "a text before turns", "the prompt within", "the prompt twice", "texts after turns"],
)
def test_pairs_of_every_plain_layout_say_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read_for("dpo", reading(tmp_path, row)) == (
        "preference",
        [PairExample(1, (ASKED,), (SAID,), (REFUSED,))],
    )


def test_text_stays_text(tmp_path: Path) -> None:
    row = {"prompt": "2+2=", "chosen": "4", "rejected": "5"}
    assert read_for("orpo", reading(tmp_path, row))[1] == [PairExample(1, "2+2=", "4", "5")]


def test_rated_answers_and_the_sides_of_pairs(tmp_path: Path) -> None:
    good, bad = RatedExample(1, (ASKED,), (SAID,), True), RatedExample(2, (ASKED,), (REFUSED,), False)
    assert read_for("kto", reading(tmp_path, UP, DOWN)) == ("rated", [good, bad])
    shape, taken_apart = read_for("kto", reading(tmp_path, PAIR))
    assert shape == "preference"
    assert taken_apart == [good, RatedExample(1, (ASKED,), (REFUSED,), False)]


PAIRS_REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("equal sides", PAIR | {"rejected": [GOOD]}, "the same"),
    (
        "equal but for a space",
        PAIR | {"rejected": [{"role": "assistant", "content": " Hello. "}]},
        "the same",
    ),
    ("no prompt", {"chosen": [GOOD], "rejected": [BAD]}, "prompt"),
    ("no prompt for texts", {"chosen": "a", "rejected": "b"}, "prompt"),
    (
        "another question",
        {"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "Ho"}, BAD]},
        "prompt",
    ),
    ("unequal turns", PAIR | {"rejected": [BAD, USER, BAD]}, "unequal"),
    ("a side that ends with the user", PAIR | {"rejected": [BAD, USER]}, "not an answer"),
    ("an empty answer", PAIR | {"rejected": [{"role": "assistant", "content": " "}]}, "empty"),
]


@pytest.mark.parametrize(
    ("row", "said"), [case[1:] for case in PAIRS_REFUSED], ids=[c[0] for c in PAIRS_REFUSED]
)
def test_a_pair_that_cannot_be_used_is_named_by_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_for("dpo", reading(tmp_path, PAIR, row, asked="preference"))
    assert "rows.jsonl:2" in caught.value.message
    assert said in f"{caught.value.title} {caught.value.message}".lower()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((UP, UP), "from line 1 to line 2 every label is true"),
        ((UP, *[DOWN] * 60, DOWN | {"label": "perhaps"}), "rows.jsonl:62"),
        ((UP, {"completion": [BAD], "label": False}), "rows.jsonl:2"),
    ],
    ids=["one label only", "no label", "no prompt"],
)
def test_a_rated_answer_that_cannot_be_used_is_named_by_line(
    tmp_path: Path, rows: tuple[dict[str, Any], ...], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_for("kto", reading(tmp_path, *rows))
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("method", "rows", "fitting"),
    [
        ("sft", (PAIR,), "dpo, cpo, kto, orpo, reward or alphapo"),
        ("dpo", (UP, DOWN), "kto"),
        ("reward", ({"messages": [USER, GOOD]},), "sft"),
        ("kto", ({"messages": [USER, GOOD]},), "sft"),
    ],
)
def test_rows_of_another_method_name_it(
    tmp_path: Path, method: Any, rows: tuple[dict[str, Any], ...], fitting: str
) -> None:
    with pytest.raises(OtherMethod) as caught:
        read_for(method, reading(tmp_path, *rows))
    assert f"Use method {fitting}" in caught.value.hint
    look = look_at_data(str(tmp_path / "rows.jsonl"), method=method)
    assert look.is_for_other_method
    assert look.shape == caught.value.shape


def test_a_look_shows_the_first_pairs_and_counts_them(tmp_path: Path) -> None:
    path = reading(tmp_path, *[PAIR] * 5).path
    look = look_at_data(str(path), method="dpo")
    assert (look.shape, look.rows, len(look.first_rows), look.problem) == ("preference", 5, 3, None)
    rated = reading(tmp_path, UP, UP, UP, UP, DOWN).path
    look = look_at_data(str(rated), method="kto")
    assert (look.shape, look.rows, len(look.first_rows), look.problem) == ("rated", 5, 3, None)

"""What `data check` passes, training takes: rows are converted as it converts them, and its errors are told by row."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from tuner_tui.cli.data import data
from tuner_tui.config.methods.traits import TRAITS, MethodKind
from tuner_tui.data.checking.checks import check
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.rows.for_method import read_for, reader_of, require_trainable
from tuner_tui.data.rows.types import Shape
from tuner_tui.errors import InputError

CASES = sorted((Path(__file__).parent / "cases" / "rows").glob("*.[jcp]*"))


def user(text: str = "q") -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str = "a") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM, OTHER_SYSTEM = {"role": "system", "content": "Be kind."}, {"role": "system", "content": "Be short."}
GOOD_PAIR = {"prompt": [user("fine")], "chosen": [said("yes")], "rejected": [said("no")]}
GOOD_SIDES = {"chosen": [user("fine"), said("yes")], "rejected": [user("fine"), said("no")]}
GOOD_TEXT = {"prompt": "fine", "chosen": "yes", "rejected": "no"}
REFUSED_PAIRS: dict[str, dict[str, Any]] = {
    "a rendered prompt and whole conversations": {
        "prompt": "<|user|>\nq\n<|assistant|>\n",
        "chosen": [user(), said("a"), user("more"), said("b")],
        "rejected": [user(), said("a"), user("more"), said("c")],
    },
    "unequal turns of the user": {
        "prompt": [user()],
        "chosen": [said("a"), user("more"), said("b")],
        "rejected": [said("c")],
    },
    "a side ends with the user": {
        "prompt": [user()],
        "chosen": [said("a"), user("x")],
        "rejected": [said("b"), user("y")],
    },
    "a system prompt in the sides alone": {
        "prompt": [user()],
        "chosen": [SYSTEM, user(), said("a")],
        "rejected": [SYSTEM, user(), said("b")],
    },
    "system prompts that differ": {
        "chosen": [SYSTEM, user(), said("a")],
        "rejected": [OTHER_SYSTEM, user(), said("b")],
    },
    "an empty prompt": {"prompt": "", "chosen": "a", "rejected": "b"},
    "an answer that is not to be trained": {
        "prompt": [user()],
        "chosen": [{**said("a"), "weight": 0}],
        "rejected": [said("b")],
    },
}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", REFUSED_PAIRS)
def test_pairs_that_dpo_refuses_are_errors_by_row(tmp_path: Path, name: str) -> None:
    bad = REFUSED_PAIRS[name]
    good = GOOD_TEXT if isinstance(bad["chosen"], str) else GOOD_PAIR if "prompt" in bad else GOOD_SIDES
    path = write(tmp_path / "pairs.jsonl", [good, bad])
    with pytest.raises(InputError) as raised:
        read_for("dpo", Reading(path))
    error = raised.value
    assert error.message.startswith(f"{path}:2: ")
    methods: tuple[MethodKind | None, ...] = (None, "dpo", "kto")
    for method in methods:
        [problem] = check(Reading(path), method=method).problems
        assert (problem.level, problem.count, problem.rows) == ("error", 1, ("2",))
        assert problem.kind == f"refused ({error.title[0].lower()}{error.title[1:]})"
        assert f"{path}:2: {problem.message}." == error.message
        if error.hint:
            assert problem.advice == error.hint


def test_each_reason_is_told_with_its_rows(tmp_path: Path) -> None:
    bad = REFUSED_PAIRS["unequal turns of the user"]
    other = REFUSED_PAIRS["a side ends with the user"]
    path = write(tmp_path / "pairs.jsonl", [GOOD_PAIR, bad, other, {**bad, "prompt": [user("again")]}])
    problems = {problem.kind: problem.rows for problem in check(Reading(path)).problems}
    assert problems == {
        "refused (the turns of a pair are unequal)": ("2", "4"),
        "refused (a side is not an answer)": ("3",),
    }


def test_a_row_without_an_answer_and_equal_sides_are_told_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"messages": [user(), said()]}, {"messages": [user("x")]}])
    kinds = [problem.kind for problem in check(Reading(path)).problems if problem.level == "error"]
    assert kinds == ["empty answers"]
    path = write(tmp_path / "same.jsonl", [GOOD_PAIR, {**GOOD_PAIR, "chosen": [said("no")]}])
    kinds = [problem.kind for problem in check(Reading(path)).problems if problem.level == "error"]
    assert kinds == ["identical sides"]


@pytest.mark.parametrize("method", TRAITS)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_a_check_finds_an_error_where_training_raises_one(path: Path, method: MethodKind) -> None:
    try:
        read_for(method, Reading(path))
    except InputError as error:
        refusal: InputError | None = error
    else:
        refusal = None
    try:
        worst = check(Reading(path), method=method).worst
    except InputError as error:
        assert refusal is not None and (error.title, error.message) == (refusal.title, refusal.message)
    else:
        assert worst == "error" if refusal is not None else worst != "error"


@pytest.mark.parametrize("shape", get_args(Shape))
def test_what_is_required_is_what_the_conversion_requires(tmp_path: Path, shape: Shape) -> None:
    read, path = reader_of(shape), tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [
        {"messages": [user(), said()]}, {"messages": [user()]}, {"text": "t"}, {"prompt": "p", "completion": "c"},
        {"prompt": [user()], "completion": [said()]}, {"prompt": [said()], "completion": [user()]},
        *REFUSED_PAIRS.values(), GOOD_PAIR, {**GOOD_PAIR, "completion": [said()], "label": True},
        {"completion": [user()], "label": True},
    ]  # fmt: skip
    compared = 0
    for row in rows:
        told = []
        for function in (read or (lambda *_: None), require_trainable(shape)):
            with suppress(KeyError):  # a row of another shape
                try:
                    function(row, path, 1)
                    told.append("taken")
                except InputError as error:
                    told.append(str(error))
        if len(told) == 2:
            compared += 1
            assert told[0] == told[1], row
    assert compared > 4


def test_the_command_checks_for_a_method(tmp_path: Path) -> None:
    path = str(write(tmp_path / "pairs.jsonl", [GOOD_PAIR, {**GOOD_PAIR, "prompt": [user("x")]}]))
    assert CliRunner().invoke(data, ["check", path]).exit_code == 0
    assert CliRunner().invoke(data, ["check", path, "--method", "orpo"]).exit_code == 0
    result = CliRunner().invoke(data, ["check", path, "--method", "sft", "--json"])
    [problem] = json.loads(result.output)["problems"]
    assert (result.exit_code, problem["kind"], problem["count"]) == (2, "of another type", 2)
    assert "Use method dpo" in problem["advice"]
    write(tmp_path / "pairs.jsonl", [GOOD_PAIR, REFUSED_PAIRS["a side ends with the user"]])
    result = CliRunner().invoke(data, ["check", path])
    assert result.exit_code == 2
    assert "error   1 refused (a side is not an answer): after the prompt" in result.output


def test_what_a_file_is_read_as_for_a_method_is_checked(tmp_path: Path) -> None:
    """By itself the file is read as instructions; for dpo as pairs, of which one is refused."""
    row = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    path = write(tmp_path / "rows.jsonl", [row, {**row, "prompt": " "}])
    [problem] = check(Reading(path), method="dpo").problems
    assert problem.rows == ("2",)


def test_a_message_that_holds_a_path_is_told_whole(tmp_path: Path) -> None:
    rows = [{"messages": [user(), said()]}, {"messages": [{"role": "http://x.y/z", "content": "a"}]}]
    [problem] = check(Reading(write(tmp_path / "rows.jsonl", rows))).problems
    assert problem.message.startswith("Unknown role: rows.jsonl:2: messages[0]: 'http://x.y/z'")

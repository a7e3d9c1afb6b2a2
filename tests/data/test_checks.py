"""What is wrong with a data set is found with its rows, and fixed by recorded steps without touching the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.tiny_model import make_tiny_model
from tuner_tui.cli.data import data
from tuner_tui.config.spec import DataSpec
from tuner_tui.data.checking.checks import check, duplicate_places, is_in_order
from tuner_tui.data.checking.problems import DataProblem
from tuner_tui.data.checking.report import DataReport
from tuner_tui.data.checking.scan import suspicions
from tuner_tui.data.recognition.reading import Reading, evaluation_reading, plain_rows, training_reading
from tuner_tui.data.rows.types import read_examples
from tuner_tui.data.tokens.length_picture import length_bars, length_words
from tuner_tui.data.tokens.lengths import RowLength, report, suggest_limit
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "ghp_" + "a1B2" * 10
LONG = "the quick brown fox jumps over the lazy dog while nine wise owls look on from an old oak tree " * 3


def qa(question: str, answer: str) -> dict[str, Any]:
    return {"question": question, "answer": answer}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def found(rows: list[Any], path: Path, **how: Any) -> dict[str, DataProblem]:
    return {problem.kind: problem for problem in check(Reading(write(path, rows), **how)).problems}


GOOD = [qa(f"question {n} of many", f"answer {n * 7} is given") for n in range(5)]


def test_a_clean_file_has_no_problems(path: Path) -> None:
    assert found(GOOD, path) == {}


@pytest.mark.parametrize(
    ("kind", "level", "fix", "bad"),
    [
        ("empty answers", "error", "drop_empty", qa("q", "  \n")),
        ("empty answers", "error", "drop_empty", {"question": "q", "answer": ""}),
        ("exact duplicates", "warning", "drop_duplicates", GOOD[1]),
        ("rows that cannot be read", "error", "drop_broken", '{"question": "q"'),
        ("rows that cannot be read", "error", "drop_broken", "7"),
        ("rows that cannot be read", "error", "drop_broken", {"question": "q", "answer": True}),
        ("rows that cannot be read", "error", "drop_broken", {"question": "q"}),
        ("control characters", "warning", "clean", qa("q", "a\x1b[31mred")),
        ("hidden characters", "warning", "clean", qa("q", "a\u202etxt.exe")),
        ("hidden characters", "warning", "clean", qa("q", "zero\u200bwidth")),
        ("mojibake", "warning", None, qa("q", "caf\u00c3\u00a9")),
        ("mojibake", "warning", None, qa("q", "what\u2019s \ufffd that")),
        ("secrets", "warning", "drop_secrets", qa("q", f"my token is {TOKEN}.")),
        ("secrets", "warning", "drop_secrets", qa("q", "-----BEGIN RSA PRIVATE KEY-----")),
        ("e-mail addresses", "warning", "drop_secrets", qa("q", "write to ann.bee@mail.somewhere.org")),
    ],
)
def test_a_bad_row_is_found_and_its_fix_leaves_the_file_alone(
    path: Path, kind: str, level: str, fix: str | None, bad: Any
) -> None:
    rows = [*GOOD, bad, qa("last one of all", "and its answer")]
    problems = found(rows, path)
    assert set(problems) == {kind}
    assert (problems[kind].level, problems[kind].count, problems[kind].rows) == (level, 1, ("6",))
    assert problems[kind].fix == fix
    before = path.read_bytes()
    if fix is not None:
        assert found(rows, path, fixes=(fix,)) == {}
        spec = DataSpec(train=str(path), fixes=(fix,))  # type: ignore[arg-type]
        assert len(read_examples(training_reading(spec))[1]) == (7 if fix == "clean" else 6)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["plain", "naïve café", "日本語の文", "emoji 👩\u200d👧 joined", "a\tb\nc", "sk-short", "x@y", "user@example.com",
     "Ã is a letter of São Paulo", "price: 5 €", "task-based ghp_ hf_x", "«quoted» — dash… ok"],
)  # fmt: skip
def test_ordinary_texts_are_not_suspected(text: str) -> None:
    assert suspicions(text) == []


def test_roles_out_of_order_are_found(path: Path) -> None:
    def talk(*roles: str) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}

    rows = [talk("user", "assistant"), talk("user", "user", "assistant"), talk("system", "user", "assistant"),
            talk("assistant", "user"), talk("user", "assistant", "system", "user", "assistant")]  # fmt: skip
    assert found(rows, path)["roles out of order"].rows == ("2", "4", "5")
    assert is_in_order(talk("user", "assistant", "tool", "tool", "assistant")["messages"])


def test_pairs_and_ratings_have_checks_of_their_own(path: Path) -> None:
    pairs = [{"prompt": f"p {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(3)]
    problems = found([*pairs, {"prompt": "p", "chosen": "same ", "rejected": "same"}], path)
    assert problems["identical sides"].rows == ("4",)
    rated = [{"prompt": f"p {n}", "completion": f"c {n}", "label": True} for n in range(3)]
    assert "every label is true" in found(rated, path)["one label"].message


def test_evaluation_rows_in_training_are_found_and_left_out(path: Path, tmp_path: Path) -> None:
    held = write(tmp_path / "held.jsonl", [GOOD[3], qa("new", "row")])
    problems = check(Reading(write(path, GOOD)), Reading(held)).problems
    assert [(problem.kind, problem.rows) for problem in problems] == [
        ("rows that are also in the evaluation data", ("4",))
    ]
    spec = DataSpec(train=str(path), evaluation=str(held), fixes=("drop_leaked",))
    assert [row for _, row, _ in plain_rows(training_reading(spec)).strict()] == [1, 2, 3, 5]
    reading = evaluation_reading(spec)
    assert reading is not None
    assert len(list(plain_rows(reading).strict())) == 2


def test_near_duplicates_are_found_and_told_from_other_rows(path: Path) -> None:
    rows = [qa("first", LONG), *GOOD, qa("first", LONG.replace("oak", "elm", 1))]
    problem = found(rows, path)["near-duplicates"]
    assert problem.rows == ("1~7",)
    assert "all rows" in problem.message


def test_duplicates_are_found_within_sixteen_bytes_a_row() -> None:
    keys = np.random.default_rng(0).integers(-(2**62), 2**62, 10_000)
    keys[[50, 9_000]] = keys[7]
    keys[9_999] = keys[123]
    assert duplicate_places(keys).tolist() == [50, 9000, 9999]


def test_a_file_that_is_cut_off_is_checked_up_to_there(tmp_path: Path) -> None:
    whole = json.dumps(GOOD, indent=1)
    path = tmp_path / "rows.json"
    path.write_text(whole[: whole.index("answer 28")])
    result = check(Reading(path))
    assert result.rows == 4
    assert [problem.kind for problem in result.problems] == ["reading stopped"]
    assert "rows.json:" in result.problems[0].message


def test_a_check_can_be_cancelled_and_tells_of_its_progress(path: Path) -> None:
    write(path, [qa(f"q {n}", f"a {n}") for n in range(12_000)])
    told: list[int] = []
    result = check(Reading(path), on_progress=told.append, is_cancelled=lambda: len(told) >= 2)
    assert told == [5000, 10000]
    assert result.is_partial
    assert result.rows == 10000


# Lengths ---------------------------------------------------------------------------------------------------


def test_lengths_against_a_limit() -> None:
    lengths = [RowLength(10, ((4, 10),)), RowLength(100, ((50, 100),)), RowLength(200, ((150, 200),))]
    told = report(lengths, 100, is_sample=False)
    assert (told.longest, told.median, told.over, told.answers_lost) == (200, 100, 1, 1)
    assert told.answer_share_cut == pytest.approx(50 / 106)
    assert sum(count for _, count in told.histogram) == 3
    assert told.padding_waste == pytest.approx(1 - 210 / 300)
    assert suggest_limit(lengths) == 256


def test_the_suggested_limit_is_the_smallest_that_leaves_the_answers() -> None:
    lengths = [RowLength(60, ((30, 60),))] * 999 + [RowLength(5000, ((4970, 5000),))]
    assert suggest_limit(lengths) == 64
    assert suggest_limit([RowLength(65, ((0, 65),))]) == 128


def test_bins_fit_lengths_that_lie_close_together() -> None:
    """60 rows of 57 to 72 tokens: every bin has its width of them, and none is empty before the first row."""
    lengths = [RowLength(57 + number % 16, ((50, 57),)) for number in range(60)]
    told = report(lengths, 1024, is_sample=False)
    assert [bound for bound, _ in told.histogram] == list(range(57, 73))
    assert all(count in (3, 4) for _, count in told.histogram)
    assert any("█████" in line for line in length_bars(told, 40, "█"))


def test_an_outlier_neither_stretches_the_bins_nor_decides_the_limit() -> None:
    lengths = [RowLength(57 + number % 16, ((50, 57),)) for number in range(59)] + [
        RowLength(9000, ((50, 9000),))
    ]
    told = report(lengths, 1024, is_sample=False)
    assert told.usual_limit == 128
    assert told.over_usual == 1
    assert "suggested limit: 128; it truncates 1 of 60 sequences (1.7%)" in length_words(told)
    assert report(lengths[:59], 1024, is_sample=False).usual_limit == 128
    assert sum(count for _, count in told.histogram) == 60
    assert told.histogram[-1][0] == 9000


# Splits and mixtures ---------------------------------------------------------------------------------------


def test_prompts_are_held_out_together_and_stay_held_out(path: Path) -> None:
    rows = [qa(f"question {n % 40}", f"answer {n}") for n in range(200)]
    write(path, rows)
    spec = DataSpec(train=str(path), evaluation_share=0.3, hold_out_by="prompt")

    def prompts(which: Reading | None) -> set[str]:
        assert which is not None
        return {row["messages"][0]["content"] for _, _, row in plain_rows(which).strict()}

    kept, held = prompts(training_reading(spec)), prompts(evaluation_reading(spec))
    assert not kept & held
    assert len(kept | held) == 40
    assert 5 <= len(held) <= 19
    write(path, [qa("quite new", "row"), *rows])
    assert prompts(evaluation_reading(spec)) - {"quite new"} == held


@pytest.mark.parametrize(
    ("also", "counts"),
    [
        (["{b}"], (10, 4, 0)),
        (["{b} rows=2"], (10, 2, 0)),
        (["{b} rows=9"], (10, 9, 0)),
        (["{b} weight=0.5"], (10, 10, 0)),
        (["{b} weight=0.25", "{c} weight=0.25"], (10, 5, 5)),
        (["{b} rows=4", "{c} weight=0.3"], (10, 4, 6)),
    ],
)
def test_sources_are_mixed_by_rows_or_weight(
    path: Path, tmp_path: Path, also: list[str], counts: tuple[int, ...]
) -> None:
    write(path, [qa(f"a {n}", "x") for n in range(10)])
    other = {
        name: write(tmp_path / f"{name} more.jsonl", [qa(f"{name} {n}", "x") for n in range(4)])
        for name in "bc"
    }
    spec = DataSpec(train=str(path), also=tuple(line.format(**other) for line in also))
    asked = [row["messages"][0]["content"] for _, _, row in plain_rows(training_reading(spec, 3)).strict()]
    assert tuple(sum(each.startswith(name) for each in asked) for name in "abc") == counts
    again = [row["messages"][0]["content"] for _, _, row in plain_rows(training_reading(spec, 3)).strict()]
    assert again == asked


@pytest.mark.parametrize(
    ("also", "complaint"),
    [
        (("{b} weight=2",), "expected FILE"),
        (("{b} weight=0.6", "{b} weight=0.6"), "add up to 1.2"),
        (("{t}",), "is of dataset type text"),
        (("nothing.jsonl",), "nothing.jsonl"),
    ],
)
def test_a_wrong_mixture_is_explained(
    path: Path, tmp_path: Path, also: tuple[str, ...], complaint: str
) -> None:
    write(path, GOOD)
    files = {"b": write(tmp_path / "b.jsonl", GOOD), "t": write(tmp_path / "t.jsonl", [{"text": "t"}])}
    spec = DataSpec(train=str(path), also=tuple(line.format(**files) for line in also))
    with pytest.raises(InputError) as caught:
        list(plain_rows(training_reading(spec)).strict())
    assert complaint in caught.value.message


# Commands --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(data, arguments)
    assert result.exception is None or isinstance(result.exception, (SystemExit, InputError)), (
        result.exception
    )
    return result.exit_code, result.output


def test_check_prints_one_object(path: Path) -> None:
    write(path, [*GOOD, qa("q", "")])
    code, output = run("check", str(path), "--json")
    told = json.loads(output)
    assert code == 2
    assert (told["shape"], told["rows"]) == ("instruction", 6)
    assert told["mapping"] == {"user": "{question}", "assistant": "{answer}"}
    assert told["problems"][0]["kind"] == "empty answers"
    assert told["problems"][0]["rows"] == ["6"]


def test_check_prints_one_object_also_for_what_cannot_be_read(path: Path) -> None:
    write(path, [{"left": 1, "right": 2}])
    code, output = run("check", str(path), "--json")
    told = json.loads(output)
    assert (code, told["shape"], told["rows"], told["mapping"]) == (2, None, 0, {})
    assert "left, right" in told["problems"][0]["message"]


def test_check_takes_a_mapping_and_fixes(path: Path) -> None:
    write(path, [{"left": "q", "right": "a"}, {"left": "q", "right": "a"}])
    code, output = run(
        "check",
        str(path),
        "--map",
        "prompt={left}",
        "--map",
        "completion={right}",
        "--fix",
        "drop_duplicates",
    )
    assert code == 0
    assert "1 row, dataset type prompt_completion (mapped manually)" in output
    assert "No problems found" in output


def test_check_counts_tokens_as_a_model_does(path: Path, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    write(path, [qa("Hi", "Yo" * 200), qa("Hi", "Yo")])
    code, output = run("check", str(path), "--model", str(model), "--length", "64", "--json")
    lengths = json.loads(output)["lengths"]
    prompt = len("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n") - len("<|im_start|>") * 2 - 10 + 3
    assert code == 0
    assert lengths["rows"] == 2
    assert lengths["over"] == 1
    assert lengths["longest"] == prompt + 400 + 2
    assert lengths["answer_share_cut"] == pytest.approx(1 - ((64 - prompt) + 3) / (401 + 3))


def test_show_tells_of_hidden_characters_and_shows_them_harmlessly(path: Path) -> None:
    write(path, [qa("q", "a\x1b[31m\u202eb")])
    code, output = run("show", str(path), "1")
    assert code == 0
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "\\x1b[31m\\u202eb" in output
    assert "control characters, hidden characters" in output


def test_show_refuses_rows_that_are_not_there(path: Path) -> None:
    write(path, GOOD)
    assert run("show", str(path), "9")[0] == 1
    assert run("show", str(path), "0")[0] == 1


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        (
            "messages",
            {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}]},
        ),
        ("prompt_completion", {"prompt": "p", "completion": "good"}),
        ("rated", {"prompt": "p", "completion": "good", "label": True}),
        ("instruction", {"instruction": "p", "output": "good"}),
        ("text", {"text": "p\n\ngood"}),
        ("prompts", {"prompt": "p"}),
        ("preference", {"prompt": "p", "chosen": "good", "rejected": "bad"}),
    ],
)
def test_convert_writes_any_shape_that_the_rows_make(
    path: Path, tmp_path: Path, to: str, expected: Any
) -> None:
    write(path, [{"prompt": "p", "chosen": "good", "rejected": "bad"}])
    target = tmp_path / "out.jsonl"
    assert run("convert", str(path), str(target), "--to", to)[0] == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert rows[0] == expected
    assert len(rows) == (2 if to == "rated" else 1)
    assert check(Reading(target, to)).layout.shape == to  # type: ignore[arg-type]


def test_convert_leaves_nothing_behind_when_it_fails(path: Path, tmp_path: Path) -> None:
    write(path, [*GOOD, "7"])
    target = tmp_path / "out.jsonl"
    assert run("convert", str(path), str(target))[0] == 1
    assert sorted(tmp_path.iterdir()) == [path]
    target.write_text("mine")
    assert run("convert", str(path), str(target))[0] == 1
    assert target.read_text() == "mine"


def test_a_report_knows_its_worst_level(path: Path) -> None:
    result: DataReport = check(Reading(write(path, [*GOOD, GOOD[0]])))
    assert result.worst == "warning"


def test_fields_that_are_not_used_are_said(path: Path) -> None:
    turns = [{"role": "user", "content": "q", "mood": "[b]"}, {"role": "assistant", "content": "a"}]
    write(path, [{"messages": turns, "source": "x", "licence": None}])
    _, output = run("check", str(path), "--json")
    assert sorted(json.loads(output)["unused_fields"]) == ["messages[].mood", "source"]
    _, output = run("check", str(path))
    assert "Fields not used: " in output and "source" in output and "licence" not in output
    write(path, GOOD)
    _, output = run("check", str(path), "--json")
    assert json.loads(output)["unused_fields"] == []
    assert "not used" not in run("check", str(path))[1]


def test_a_row_is_shown_with_all_that_it_says(path: Path) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [call], "reasoning": "hm", "train": False},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "a"},
    ]
    write(path, [{"messages": turns, "source": "x"}])
    _, output = run("show", str(path), "1")
    for line in (
        "assistant (not trained): hm",
        'assistant (not trained): weather({"city": "Ulm"})',
        "tool: rain",
    ):
        assert f"messages: {line}" in output
    shown = json.loads(run("show", str(path), "1", "--json")[1])
    assert (shown["problem"], shown["unused_fields"]) == (None, ["source"])
    assert shown["read_as"]["messages"][1]["weight"] == 0
    write(path, [{"messages": [{"role": "narrator", "content": "q"}]}])
    assert "narrator" in json.loads(run("show", str(path), "1", "--json")[1])["problem"]

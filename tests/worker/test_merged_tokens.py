"""Tokens that reach from a prompt into its completion have loss and are warned of, as in TRL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer
from trl.data_utils import common_prefix_length

from tests.worker.runs import Run
from tuner_tui.cli.data import data
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.tokens.merged import KIND
from tuner_tui.runs.events import Warned
from tuner_tui.sharing import train_script
from tuner_tui.worker.text import rendering
from tuner_tui.worker.text.preference_tokens import tokenise_answers, tokenise_pairs
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokens import IGNORED

SHORT = {"max_steps": 1, "max_length": 64}
SPACE = "Move the trailing space to the start of the completion."
TEXTS = [
    ("Is it? ", "yes"),
    ("Is it?", " yes"),
    ("Is it? ", "no"),
    ("Is it?\n", "yes"),
    ("Is it? y", "es"),
    ("Is it?", "yes"),
    ("Is it?  ", "yes"),
    ("Is it? ", " yes"),
]


def merging(folder: Path) -> Path:
    """A model whose tokenizer has a token for " y" and one for " ye", in place of two that no text here has."""
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    vocabulary = told["model"]["vocab"]
    vocabulary["Ġy"] = vocabulary.pop("Ā")
    vocabulary["Ġye"] = vocabulary.pop("ā")
    told["model"]["merges"] = [["Ġ", "y"], ["Ġy", "e"]]
    path.write_text(json.dumps(told))
    return folder


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    return merging(shutil.copytree(tiny_model, tmp_path / "merging"))


@pytest.fixture
def tokenizer(model: Path) -> Any:
    return AutoTokenizer.from_pretrained(model)


def written(path: Path, rows: list[dict[str, Any]]) -> Reading:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Reading(path)


def by_trl(prompt: str, completion: str, tokenizer: Any) -> tuple[list[int], bool]:
    """(the completion's tokens, whether TRL warns that the tokenised prompt is not how the tokenised row begins)."""
    asked, whole = tokenizer(prompt)["input_ids"], tokenizer(prompt + completion)["input_ids"]
    begin = common_prefix_length(asked, whole)
    return [*whole[begin:], tokenizer.eos_token_id], begin < len(asked)


def trained(labels: list[int]) -> list[int]:
    return [label for label in labels if label != IGNORED]


def test_the_tokens_of_trl_have_loss_and_its_warnings_are_given(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in TEXTS]
    made = tokenise_file(written(tmp_path / "rows.jsonl", rows), tokenizer, 64, "answers").rows
    assert [(trained(row.labels), bool(row.merges)) for row in made] == [
        by_trl(*text, tokenizer) for text in TEXTS
    ]
    assert [row.merges for row in made] == [
        "whitespace", "", "", "", "text", "", "whitespace", "",
    ]  # fmt: skip
    assert tokenizer.decode(trained(made[0].labels)) == " yes<|im_end|>"
    whole = tokenise_file(Reading(tmp_path / "rows.jsonl"), tokenizer, 64, "all").rows
    assert {row.merges for row in whole} == {""}


def test_sides_of_pairs_and_rated_answers_begin_where_those_of_trl_do(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        {"prompt": "Is it? ", "chosen": "yes", "rejected": "no"},
        {"prompt": "Is it? ", "chosen": "yes", "rejected": "yea"},
    ]
    apart, same = tokenise_pairs(written(tmp_path / "rows.jsonl", rows), tokenizer, 64, "dpo").rows
    assert (apart.merges, same.merges) == ("whitespace", "whitespace")
    for pair, row in ((apart, rows[0]), (same, rows[1])):
        asked = tokenizer(row["prompt"])["input_ids"]
        sides = [tokenizer(row["prompt"] + row[side])["input_ids"] for side in ("chosen", "rejected")]
        begin = min(common_prefix_length(asked, side) for side in sides)
        end = [tokenizer.eos_token_id]
        assert [pair.prompt, pair.chosen, pair.rejected] == [
            asked[:begin],
            *(side[begin:] + end for side in sides),
        ]
    rated: list[dict[str, Any]] = [
        {"prompt": "Is it? ", "completion": "yes", "label": True},
        {"prompt": "Is it? ", "completion": "no", "label": False},
    ]
    answers = tokenise_answers(written(tmp_path / "rated.jsonl", rated), tokenizer, 64, "kto", 0).rows
    assert {row.line: (row.completion, bool(row.merges)) for row in answers} == {
        line: by_trl(row["prompt"], row["completion"], tokenizer) for line, row in enumerate(rated, 1)
    }


@pytest.mark.parametrize(
    ("method", "row", "good"),
    [
        ("sft", {"prompt": "Is it? ", "completion": "yes"}, {"prompt": "Is it?", "completion": " yes"}),
        (
            "orpo",
            {"prompt": "Is it? ", "chosen": "yes", "rejected": "yea"},
            {"prompt": "Is it?", "chosen": " yes", "rejected": " yea"},
        ),
    ],
)
def test_a_run_and_a_check_warn_with_the_rows(
    train: Callable[..., Run],
    tmp_path: Path,
    model: Path,
    method: str,
    row: dict[str, Any],
    good: dict[str, Any],
) -> None:
    rows = [good, row, good, row]
    run = train(
        rows, model={"source": str(model), "precision": "fp32"}, training=SHORT, method={"kind": method}
    )
    assert run.exit_code == 0
    [warned] = [each for each in run.all(Warned) if "merges" in each.message]
    assert warned.message == (
        "The completion's first token merges with the end of the prompt, so a prompt alone ends in another token "
        "(rows 2, 4)."
    )
    assert warned.hint == SPACE
    path = written(tmp_path / "checked.jsonl", rows).path
    result = CliRunner().invoke(data, ["check", str(path), "--model", str(model), "--json"])
    [problem] = [each for each in json.loads(result.output)["problems"] if each["kind"] == KIND]
    assert (result.exit_code, problem["level"], problem["rows"]) == (0, "warning", ["2", "4"])
    assert (
        problem["message"]
        == "the completion's first token merges with the end of the prompt, so a prompt alone "
        "ends in another token"
    )
    assert problem["advice"] == SPACE
    more = ["--loss-on", "all"] if method == "sft" else []
    written(path, [good])
    result = CliRunner().invoke(data, ["check", str(path), "--model", str(model), "--json", *more])
    assert KIND not in {each["kind"] for each in json.loads(result.output)["problems"]}


def test_a_template_that_asks_with_a_space_is_told(tmp_path: Path, model: Path, tokenizer: Any) -> None:
    template = "{% for m in messages %}{% if m.role == 'assistant' %}A: {{ m.content }}<|im_end|>{% else %}"
    template += "{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
    tokenizer.chat_template = template
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}]
    [made] = tokenise_file(
        written(tmp_path / "rows.jsonl", [{"messages": turns}]), tokenizer, 64, "answers"
    ).rows
    assert made.merges == "template"
    marked = template.replace(
        "{{ m.content }}<|im_end|>", "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    )
    masked = tokenizer.apply_chat_template(
        turns, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True
    )
    assert made.input_ids == masked["input_ids"]
    assert [label != IGNORED for label in made.labels] == [
        bool(is_answer) for is_answer in masked["assistant_masks"]
    ]
    assert tokenizer.decode(trained(made.labels)) == " yes<|im_end|>"
    tokenizer.chat_template = template.replace("%}A: {% endif", "%}A:{% endif")
    [made] = tokenise_file(Reading(tmp_path / "rows.jsonl"), tokenizer, 64, "answers").rows
    assert made.merges == ""


@pytest.mark.parametrize(
    "answer", ["<b>yes</b>", "<tool_call>", "yes", " yes", "<think>\nHm.\n</think>\n\nyes"]
)
def test_what_an_answer_and_an_opened_thought_begin_with_alike_is_the_answers(
    tmp_path: Path, tokenizer: Any, answer: str
) -> None:
    tokenizer.add_tokens(["<think>"], special_tokens=True)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    asked, answered = [{"role": "user", "content": "Is it?"}], [{"role": "assistant", "content": answer}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(asked + answered)["input_ids"]
    rows = written(tmp_path / "rows.jsonl", [{"prompt": asked, "completion": answered}])
    [made] = tokenise_file(rows, tokenizer, 512, "answers").rows
    assert (made.input_ids, trained(made.labels)) == (whole, whole[common_prefix_length(prompt, whole) :])
    assert not made.merges


@pytest.mark.parametrize("loss_on", ["answers", "all"])
def test_an_exported_script_gives_the_same_tokens_loss(tmp_path: Path, tokenizer: Any, loss_on: str) -> None:
    script: dict[str, Any] = {"LOSS_ON": loss_on, "MAX_LENGTH": 512}
    exec(train_script._ROWS, script)
    rows: list[dict[str, Any]] = [
        {"prompt": prompt, "completion": completion} for prompt, completion in TEXTS
    ]
    made = tokenise_file(written(tmp_path / "texts.jsonl", rows), tokenizer, 512, loss_on).rows
    for row, (prompt, completion) in zip(made, TEXTS, strict=True):
        text = prompt + completion
        line = {"text": text, "answers": [[len(prompt), len(text)]], "rendered": False}
        assert script["encode"](line, tokenizer) == {"input_ids": row.input_ids, "labels": row.labels}
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Is it?", "weight": 0},
        {"role": "assistant", "content": "yes", "weight": 0},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": " yes"},
    ]
    [row] = tokenise_file(
        written(tmp_path / "turns.jsonl", [{"messages": turns}]), tokenizer, 512, loss_on
    ).rows
    [conversation] = rendering.answers(
        tokenizer, [rendering.Conversed("", turns, finds_marked=loss_on == "all")]
    )
    [whole] = conversation
    spans = [list(span) for span in whole.spans]
    line = {"text": whole.text, "rendered": True}
    line |= {"answers": [], "untrained": spans} if loss_on == "all" else {"answers": spans}
    assert script["encode"](line, tokenizer) == {"input_ids": row.input_ids, "labels": row.labels}

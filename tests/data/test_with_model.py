"""With a model, a check renders the rows: what its template leaves out or refuses is told by row, as training does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.tiny_model import CHAT_TEMPLATE, make_tiny_model
from tuner_tui.cli.data import data
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.tokens.row_kinds import RowKinds

CASES = Path(__file__).parent / "cases"
FAR = 2500
"""Rows before an odd one; more than the sample holds."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("with-model") / "tiny")


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(tiny, tmp_path / "model")


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def qa(number: int, **more: Any) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"What is {number}?"},
            {"role": "assistant", "content": f"It is number {number}.", **more},
        ]
    }


def checked(path: str, model: Path, *more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(data, ["check", path, "--model", str(model), "--json", *more])
    assert result.output, result.exception
    return result.exit_code, {each["kind"]: each for each in json.loads(result.output)["problems"]}


def test_calls_that_the_template_leaves_out_are_an_error(model: Path) -> None:
    path = str(CASES / "rows" / "tools_sft.jsonl")
    code, problems = checked(path, model)
    problem = problems["not rendered in full"]
    assert (code, problem["level"], problem["rows"]) == (2, "error", ["1", "2"])
    assert problem["message"] == "the chat template leaves out the assistant's tool calls and the tools"
    result = CliRunner().invoke(data, ["check", path, "--model", str(model)])
    assert "No problems found" not in result.output
    shutil.copy(CASES / "templates" / "tojson.jinja", model / "chat_template.jinja")
    assert checked(path, model) == (0, {})


def test_a_template_of_ones_own_is_taken(model: Path) -> None:
    path = str(CASES / "rows" / "tools_sft.jsonl")
    assert checked(path, model, "--template", str(CASES / "templates" / "tojson.jinja")) == (0, {})
    shutil.copy(CASES / "templates" / "tojson.jinja", model / "chat_template.jinja")
    assert checked(path, model, "--template", "chatml")[0] == 2


def test_one_odd_row_among_many_is_found(model: Path, tmp_path: Path) -> None:
    rows = [*map(qa, range(FAR)), qa(FAR, reasoning_content="hm"), *map(qa, range(FAR + 1, FAR + 60))]
    code, problems = checked(write(tmp_path / "rows.jsonl", rows), model)
    problem = problems["not rendered in full"]
    assert (code, problem["count"], problem["rows"]) == (2, 1, [str(FAR + 1)])
    assert (
        problem["message"]
        == "the chat template leaves out the assistant's reasoning, of 2,001 rows looked at"
    )


def test_details_are_a_warning(model: Path, tmp_path: Path) -> None:
    rows = [qa(1), qa(2)]
    rows[1]["messages"][0]["name"] = "Alice"
    code, problems = checked(write(tmp_path / "rows.jsonl", rows), model)
    problem = problems["with fields that are not rendered"]
    assert (code, problem["level"], problem["rows"]) == (0, "warning", ["2"])
    assert problem["message"] == "the chat template has no place for the user's name"


def test_rows_that_the_template_refuses_are_told_and_the_rest_is_counted(model: Path, tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    (model / "chat_template.jinja").write_text(refusing + CHAT_TEMPLATE)
    bad = qa(2)
    bad["messages"].insert(0, {"role": "system", "content": "Be kind."})
    path = write(tmp_path / "rows.jsonl", [qa(1), bad, qa(3)])
    result = CliRunner().invoke(data, ["check", path, "--model", str(model), "--json"])
    told = json.loads(result.output)
    [problem] = told["problems"]
    assert (result.exit_code, problem["kind"]) == (2, "refused (the chat template refuses a row)")
    assert (problem["rows"], problem["message"], problem["fix"]) == (["2"], "no system role", "merge_system")
    assert told["lengths"]["rows"] == 2
    assert checked(path, model, "--fix", "merge_system") == (0, {})
    result = CliRunner().invoke(
        data, ["check", write(tmp_path / "all.jsonl", [bad]), "--model", str(model), "--json"]
    )
    assert (result.exit_code, json.loads(result.output)["lengths"]) == (2, None)


def test_answers_that_cannot_be_located_are_refused(model: Path, tmp_path: Path) -> None:
    """As training does, unless all text is trained."""
    (model / "chat_template.jinja").write_text("{{ messages[-1].content }}" + CHAT_TEMPLATE)
    path = write(tmp_path / "rows.jsonl", [qa(1), qa(2)])
    code, problems = checked(path, model)
    assert code == 2 and problems["refused (the chat template rewrites earlier turns)"]["rows"] == ["1", "2"]
    assert checked(path, model, "--loss-on", "all") == (0, {})


def test_pairs_are_rendered_side_by_side(model: Path, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    asked = [{"role": "user", "content": "q"}]
    chosen = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    pair = {"prompt": asked, "chosen": chosen, "rejected": [{"role": "assistant", "content": "no"}]}
    code, problems = checked(write(tmp_path / "rows.jsonl", [pair]), model, "--method", "dpo")
    assert (code, problems["not rendered in full"]["count"]) == (2, 1)
    assert "the assistant's tool calls" in problems["not rendered in full"]["message"]


def test_a_row_is_shown_with_what_is_left_out(model: Path) -> None:
    path = str(CASES / "rows" / "tools_sft.jsonl")
    words = "The chat template leaves out the assistant's tool calls (turn 2) and the tools."
    result = CliRunner().invoke(data, ["show", path, "1", "--model", str(model), "--json"])
    assert json.loads(result.output)["left_out"] == [words]
    result = CliRunner().invoke(data, ["show", path, "1", "--model", str(model)])
    assert f"warning: {words}" in " ".join(result.output.split())
    template = str(CASES / "templates" / "tojson.jinja")
    result = CliRunner().invoke(
        data, ["show", path, "1", "--model", str(model), "--template", template, "--json"]
    )
    assert json.loads(result.output)["left_out"] == []


# Kinds of rows -------------------------------------------------------------------------------------------


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, USER, ANSWER]},
        {"messages": [USER, ANSWER, USER, ANSWER]},
        {"messages": [USER, {**ANSWER, "content": " "}]},
        {"messages": [USER, {**ANSWER, "weight": 0}]},
        {"messages": [USER, {**ANSWER, "reasoning_content": "hm"}]},
        {"messages": [{**USER, "name": "Bob"}, ANSWER]},
        {"messages": [USER, {**ANSWER, "content": "<think>b</think>a"}]},
        {"messages": [{**USER, "content": "<b>q"}, ANSWER]},
        {"messages": [USER, ANSWER], "tools": [TOOL]},
        {"messages": [USER, ANSWER], "chat_template_kwargs": {"enable_thinking": True}},
        {"prompt": [USER], "completion": [ANSWER]},
    ],
)
def test_rows_with_other_parts_are_new_once(row: dict[str, Any]) -> None:
    kinds = RowKinds()
    assert kinds.is_new({"messages": [USER, ANSWER]})
    assert not kinds.is_new({"messages": [{**USER, "content": "other"}, {**ANSWER, "content": "words"}]})
    assert kinds.is_new(row)
    assert not kinds.is_new(json.loads(json.dumps(row)))


def test_tools_are_told_apart_by_the_keywords_of_their_schemas() -> None:
    def row(**more: Any) -> dict[str, Any]:
        schema = {"properties": {"b": {"type": "string", **more}}}
        return {
            "messages": [USER, ANSWER],
            "tools": [{"type": "function", "function": {"name": "g", "parameters": schema}}],
        }

    kinds = RowKinds()
    assert kinds.is_new(row())
    assert not kinds.is_new({"messages": [USER, ANSWER], "tools": [TOOL]})
    assert kinds.is_new(row(minimum=3))
    assert not kinds.is_new(row(minimum=4))


def test_switches_count_and_texts_for_the_template_do_not() -> None:
    kinds = RowKinds()
    rows = [
        {
            "messages": [USER, ANSWER],
            "chat_template_kwargs": {"custom_instructions": text, "enable_thinking": is_on},
        }
        for text, is_on in (("Be a pirate", False), ("Be kind", False), ("Be kind", True), ("Be short", True))
    ]
    assert [kinds.is_new(row) for row in rows] == [True, False, True, False]


NO_END = "answers without an EOS token"
LAST_ONLY = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% if loop.last and m.role == 'assistant' %}<|im_end|>"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.mark.parametrize("template", [LAST_ONLY, LAST_ONLY.replace("<|im_end|>", "")])
def test_answers_that_do_not_end_are_found_as_before_the_first_step(
    model: Path, tmp_path: Path, template: str
) -> None:
    from transformers import AutoTokenizer

    from tuner_tui.worker.text.token_cache import tokenise_file
    from tuner_tui.worker.training.preflight import Ends, look

    (model / "chat_template.jinja").write_text(template)
    turns = [*qa(1)["messages"], *qa(2)["messages"]]
    path = write(tmp_path / "rows.jsonl", [{"messages": turns}] * 3)
    tokenizer = AutoTokenizer.from_pretrained(model)
    data = tokenise_file(Reading(Path(path)), tokenizer, 10_000, "answers")
    ends = Ends(frozenset({tokenizer.eos_token_id}), None, None, None)
    assert [finding.name for finding in look(data, ends, 10_000)] == ["end_never_trained"]
    code, problems = checked(path, model)
    assert (code, problems[NO_END]["level"]) == (2, "error")
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    assert NO_END not in checked(path, model)[1]


def test_each_eos_token_of_the_model_ends_an_answer(model: Path, tmp_path: Path) -> None:
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("<|im_end|>", "<|endoftext|>"))
    path = write(tmp_path / "rows.jsonl", [qa(1)])
    assert NO_END in checked(path, model)[1]
    (model / "generation_config.json").write_text('{"eos_token_id": [0, 1, 2]}')
    assert NO_END not in checked(path, model)[1]

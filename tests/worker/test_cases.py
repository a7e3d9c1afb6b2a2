"""Rows as other people write them, as tokens: what each says is trained, or is not, as it says."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from tuner_tui.data.recognition.reading import Reading
from tuner_tui.errors import InputError
from tuner_tui.worker.text.preference_tokens import tokenise_answers, tokenise_pairs
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokenised import IGNORED

ROWS = Path(__file__).parent.parent / "data" / "cases" / "rows"
TRL = Path(trl.__file__).parent / "chat_templates"
END = "<|im_end|>"
MISTRAL = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)


@cache
def tokenizer_for(folder: Path, name: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if name == "mistral":
        tokenizer.chat_template = MISTRAL
    elif name != "chatml":
        tokenizer.chat_template = (TRL / f"{name}.jinja").read_text()
    tokenizer.bos_token = "<|endoftext|>"
    if name == "llama3_1":
        tokenizer.eos_token = "<|eot_id|>"
    return tokenizer


@pytest.fixture
def tokenizer(tiny_model: Path, request: pytest.FixtureRequest) -> Any:
    return tokenizer_for(tiny_model, getattr(request, "param", "qwen3"))


def sequences(
    where: Path | Reading, tokenizer: Any, kind: str = "sft", loss_on: str = "answers"
) -> list[Any]:
    reading = where if isinstance(where, Reading) else Reading(where)
    if kind == "sft":
        rows: list[Any] = tokenise_file(reading, tokenizer, 10_000, loss_on).rows
    elif kind == "kto":
        rows = sorted(tokenise_answers(reading, tokenizer, 10_000, "kto", 0).rows, key=lambda row: row.line)
    else:
        rows = tokenise_pairs(reading, tokenizer, 10_000, "dpo").rows
    return [each for row in rows for each in row.sequences()]


def text(sequence: Any, tokenizer: Any) -> str:
    return str(tokenizer.decode(sequence.ids))


def learnt(sequence: Any, tokenizer: Any) -> str:
    """What has loss; each stretch without it is `|`."""
    parts: list[str] = []
    stretch: list[int] = []
    for label in [*sequence.labels, IGNORED]:
        if label != IGNORED:
            stretch.append(label)
        elif stretch:
            parts.append(tokenizer.decode(stretch))
            stretch = []
    return "|".join(parts)


def written(folder: Path, *rows: dict[str, Any]) -> Reading:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Reading(path)


@pytest.mark.parametrize("tokenizer", ["qwen3", "llama3_1", "qwen2_5"], indirect=True)
@pytest.mark.parametrize(
    ("name", "kind"), [("tools_dpo", "dpo"), ("tools_dpo_final", "dpo"), ("tools_kto", "kto")]
)
def test_tools_stand_in_the_prompt(tokenizer: Any, name: str, kind: str) -> None:
    for sequence in sequences(ROWS / f"{name}.jsonl", tokenizer, kind):
        whole, answer = text(sequence, tokenizer), learnt(sequence, tokenizer)
        assert '"description": "Weather of a city"' in whole.removesuffix(answer)


def test_calls_are_trained(tokenizer: Any) -> None:
    chosen, rejected, *_ = sequences(ROWS / "tools_dpo.jsonl", tokenizer, "dpo")
    assert '{"name": "get_weather", "arguments": {"city": "Porto"}}' in learnt(chosen, tokenizer)
    assert "It is sunny, I guess." in learnt(rejected, tokenizer)
    for place, city in enumerate(("Oslo", "Lima")):
        assert f'"city": "{city}"' in learnt(
            sequences(ROWS / "pairs_args.jsonl", tokenizer, "dpo")[place], tokenizer
        )


@pytest.mark.parametrize(
    ("name", "kind", "thought"),
    [
        ("reason_dpo", "dpo", "Eight each, three of them: 24."),
        ("reason_reasoning", "sft", "A spider has eight legs, so three have 24."),
        ("reason_column", "sft", "A spider has eight legs, so three have 24."),
        ("think", "sft", "17 times 6 is 10*6 plus 7*6, that is 60 plus 42."),
        ("dup_thoughts", "sft", "3 times 3 is 9."),
    ],
)
def test_thoughts_are_trained(tokenizer: Any, name: str, kind: str, thought: str) -> None:
    assert learnt(sequences(ROWS / f"{name}.jsonl", tokenizer, kind)[0], tokenizer).startswith(
        f"<think>\n{thought}\n</think>\n\n"
    )


@pytest.mark.parametrize("name", ["flag_train", "flag_training", "flag_loss"])
@pytest.mark.parametrize("tokenizer", ["qwen3", "chatml", "qwen3_5_think"], indirect=True)
def test_a_marked_turn_has_no_loss(tokenizer: Any, name: str) -> None:
    [first, _] = sequences(ROWS / f"{name}.jsonl", tokenizer)
    answer = learnt(first, tokenizer)
    assert (
        answer.endswith(f"Four, sorry.{END}") and "Five" not in answer and "Five." in text(first, tokenizer)
    )


@pytest.mark.parametrize("tokenizer", ["chatml"], indirect=True)
def test_a_marked_turn_has_no_loss_where_all_else_has(tokenizer: Any) -> None:
    [first, _] = sequences(ROWS / "flag_train.jsonl", tokenizer, loss_on="all")
    rest = learnt(first, tokenizer)
    assert "Five" not in rest and "Two plus two?" in rest and "Four, sorry." in rest


MARKS = ({"weight": 0}, {"train": False}, {"training": "no"}, {"loss": 0}, {"masked": True})


@pytest.mark.parametrize("mark", MARKS, ids=str)
@pytest.mark.parametrize("role", ["system", "user", "tool"])
@pytest.mark.parametrize("tokenizer", ["chatml", "qwen3", "llama3_1", "gemma3"], indirect=True)
def test_a_marked_turn_of_any_role_has_no_loss(
    tokenizer: Any, tmp_path: Path, role: str, mark: dict[str, Any]
) -> None:
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I look."},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "Rain."},
    ]
    if role == "tool":
        if "start_of_turn" in tokenizer.chat_template:
            pytest.skip("the template has no place for results")
        turns[2:4] = [
            {
                **turns[2],
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": "x"}}}],
            },
            {"role": "tool", "name": "f", "content": "Sixteen millimetres."},
        ]
    place = next(n for n, turn in enumerate(turns) if turn["role"] == role)
    said_there = turns[place]["content"]
    every = sequences(written(tmp_path, {"messages": turns}), tokenizer, loss_on="all")
    turns[place] = {**turns[place], **mark}
    [sequence] = sequences(written(tmp_path, {"messages": turns}), tokenizer, loss_on="all")
    assert sequence.ids == every[0].ids
    assert said_there in text(sequence, tokenizer) and said_there not in learnt(sequence, tokenizer)
    others = [turn["content"] for turn in turns if turn["content"] != said_there]
    others = [
        other for other in others if other in text(sequence, tokenizer)
    ]  # Llama 3.1 drops what is beside a call
    assert others[-1] == "Rain."
    assert all(other in learnt(sequence, tokenizer) for other in others)
    masked = [token for token, label in zip(sequence.ids, sequence.labels, strict=True) if label == IGNORED]
    stretch = tokenizer.decode(masked).removesuffix(tokenizer.eos_token)
    assert stretch.removesuffix("\n</tool_response>").removesuffix('"') == said_there


def test_a_prompts_answer_has_loss_where_all_tokens_have(tokenizer: Any, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "earlier"},
        {"role": "user", "content": "r"},
    ]
    row = {"prompt": asked, "completion": [{"role": "assistant", "content": "a"}]}
    [only] = sequences(written(tmp_path, row), tokenizer, loss_on="all")
    assert only.labels == only.ids
    asked[1]["weight"] = 0
    [only] = sequences(written(tmp_path, row), tokenizer, loss_on="all")
    assert "earlier" not in learnt(only, tokenizer) and "q" in learnt(only, tokenizer)


def test_a_marked_answer_that_is_written_anew_has_no_loss(tokenizer: Any, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nFive.", "weight": 0},
        {"role": "user", "content": "r"},
        {"role": "assistant", "content": "Four."},
    ]
    [only] = sequences(written(tmp_path, {"messages": turns}), tokenizer, loss_on="all")
    assert "Five." not in learnt(only, tokenizer) and "Four." in learnt(only, tokenizer)


@pytest.mark.parametrize("name", ["bedrock", "anthropic_sys", "sys_dict"])
@pytest.mark.parametrize("tokenizer", ["qwen2_5"], indirect=True)
def test_the_rows_system_prompt_is_rendered(tokenizer: Any, name: str) -> None:
    whole = text(sequences(ROWS / f"{name}.jsonl", tokenizer)[0], tokenizer)
    assert whole.startswith("<|im_start|>system\nYou speak like a pirate.<|im_end|>") and "Qwen" not in whole


GREETINGS = {
    "greet": ["Welcome, traveller. I keep the lighthouse.", "There is, up the stairs."],
    "greet_sys": ["Welcome, traveller.", "There is."],
}


@pytest.mark.parametrize(
    "tokenizer", ["chatml", "qwen2_5", "qwen3", "llama3_1", "qwen3_5_think"], indirect=True
)
@pytest.mark.parametrize("name", GREETINGS)
def test_a_greeting_is_trained(tokenizer: Any, name: str) -> None:
    found = sequences(ROWS / f"{name}.jsonl", tokenizer)
    answers = [part for each in found for part in learnt(each, tokenizer).split("|<")[0:] if part]
    told = "".join(answers)
    end = tokenizer.eos_token
    for answer in GREETINGS[name]:
        assert f"{answer}{end}" in told
    assert "Is there room" not in told and "user" not in told and "assistant" not in told


def test_a_greeting_stops_at_its_end(tiny_model: Path) -> None:
    tokenizer = tokenizer_for(tiny_model, "qwen3_5_think")
    [only] = sequences(ROWS / "greet_sys.jsonl", tokenizer)
    first, _, second = learnt(only, tokenizer).partition(f"{END}|")
    assert first == "Welcome, traveller." and second.endswith(f"There is.{END}")


def test_a_call_without_words_in_front_of_a_user_is_found(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_for(tiny_model, "qwen3_5_think")
    function = {"name": "f", "arguments": {"a": "x"}}
    turns = [
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
        {"role": "tool", "content": "r"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
    told = "".join(
        learnt(each, tokenizer) for each in sequences(written(tmp_path, {"messages": turns}), tokenizer)
    )
    assert "<function=f>" in told and "tool_response" not in told


def test_nulls_are_not_rendered(tokenizer: Any) -> None:
    for sequence in sequences(ROWS / "nulls_tools.parquet", tokenizer):
        assert "null" not in text(sequence, tokenizer)


def test_nothing_of_a_prompt_is_trained(tokenizer: Any, tmp_path: Path) -> None:
    asked = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "r"},
    ]
    row = {"prompt": asked, "completion": [{"role": "assistant", "content": "a"}]}
    [only] = sequences(written(tmp_path, row), tokenizer)
    assert learnt(only, tokenizer) == f"<think>\n\n</think>\n\na{END}"


@pytest.mark.parametrize("tokenizer", ["mistral"], indirect=True)
@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_a_system_role_that_is_refused_can_be_merged(tokenizer: Any, tmp_path: Path, kind: str) -> None:
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "q"}]
    good, bad = [{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]
    rows: dict[str, list[dict[str, Any]]] = {
        "sft": [{"messages": prompt + good}],
        "dpo": [{"prompt": prompt, "chosen": good, "rejected": bad}],
        "kto": [{"prompt": prompt, "completion": side, "label": side is good} for side in (good, bad)],
    }
    reading = written(tmp_path, *rows[kind])
    with pytest.raises(InputError, match="System role not supported") as refused:
        sequences(reading, tokenizer, kind)
    assert "merge_system" in refused.value.hint
    merged = Reading(reading.path, fixes=("merge_system",))
    assert text(sequences(merged, tokenizer, kind)[0], tokenizer).startswith("[INST] Be kind.\n\nq [/INST]")


@pytest.mark.parametrize("written_as", [dict, json.dumps])
@pytest.mark.parametrize("name", ["deepseekv3", "qwen3", "llama3_1", "glm4moe"])
def test_arguments_are_text_or_object_as_the_template_needs(
    tiny_model: Path, tmp_path: Path, name: str, written_as: Any
) -> None:
    tokenizer = tokenizer_for(tiny_model, name)
    function = {"name": "f", "arguments": written_as({"city": "Porto"})}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
    ]
    [only] = sequences(written(tmp_path, {"messages": turns}), tokenizer)
    answer = learnt(only, tokenizer)
    assert "'city'" not in answer and '\\"' not in answer
    assert ("<arg_key>city</arg_key>" if name == "glm4moe" else '"city": "Porto"') in answer


def test_swift_tools_are_trained(tokenizer: Any) -> None:
    told = [learnt(each, tokenizer) for each in sequences(ROWS / "swift_tools.jsonl", tokenizer)]
    assert '{"name": "get_weather", "arguments": {"city": "Porto"}}' in "".join(told)
    assert '"temp"' not in "".join(told)


@pytest.mark.parametrize("name", ["deepseekv3", "deepseek_r1_distill"])
def test_the_first_token_of_a_call_has_loss_where_the_template_asks_with_an_opened_thought(
    tiny_model: Path, tmp_path: Path, name: str
) -> None:
    """The prompt ends with <think> and the answer begins with another tag, of which the < is the same."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (TRL / f"{name}.jinja").read_text()
    tokenizer.add_tokens(["<think>", "<\uff5ctool\u2581calls\u2581begin\uff5c>"], special_tokens=True)
    function = {"name": "f", "arguments": {"a": "x"}}
    called = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    tagged = {"role": "assistant", "content": "<b>x</b>"}
    for answer in [tagged, *([called] if name == "deepseekv3" else [])]:
        row = {"messages": [{"role": "user", "content": "q"}, answer]}
        [only] = sequences(written(tmp_path, row), tokenizer)
        first = next(label for label in only.labels if label != IGNORED)
        begin = "<\uff5ctool\u2581calls\u2581begin\uff5c>" if answer is called else "<"
        assert tokenizer.decode([first]) == begin

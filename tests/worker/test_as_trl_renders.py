"""Rows of every dataset type become the tokens that TRL's own rendering gives, for the chat templates that TRL carries.

Where we differ, and why:

- `AFTER_END`: what a template writes behind an answer's EOS token (a line end) is no part of a side of a pair or of an
  unpaired answer, since no model is asked for it; TRL's trainers count it.
- `PER_ANSWER`: a template that leaves out thoughts or calls of earlier turns gives one row for each answer, as the
  model sees it when it gives that answer; TRL's one row has the last of them.
- `TEXT_ARGUMENTS`: a template that needs a call's arguments as text gets them so; TRL needs them so in the data.
- `ALIKE`: a pair of which a template writes both sides alike, since it has no place for calls or thoughts, is refused.
- `apply_chat_template` counts the `<` with which an opened `<think>` and a call begin alike as the prompt's; TRL's
  trainers compare tokens, of which each tag is one, and there it is the answer's, as with us.
- The role `developer` is rendered as `system`, which it stands for; TRL writes a header `developer` with most
  templates, which their models were not trained with, and Qwen3's leaves such a turn out.
- Of `messages` only the assistant's tokens have loss, and of a prompt nothing has; TRL has that as an option.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trl
from transformers import AutoTokenizer
from trl.data_utils import apply_chat_template

from tuner_tui.data.recognition.reading import Reading
from tuner_tui.errors import InputError
from tuner_tui.worker.text.preference_tokens import tokenise_answers, tokenise_pairs
from tuner_tui.worker.text.rendering import TemplateRefused
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokenised import IGNORED

if TYPE_CHECKING:
    from tuner_tui.worker.text.tokenised import TokenSequence

FOLDER = Path(trl.__file__).parent / "chat_templates"
DEEPSEEK_END = "<\uff5cend\u2581of\u2581sentence\uff5c>"
ENDS = {
    "qwen2_5": "<|im_end|>", "qwen3": "<|im_end|>", "qwen3_instruct_2507": "<|im_end|>", "qwen3_5_think": "<|im_end|>",
    "qwen3_5_nothink": "<|im_end|>", "qwen3_6": "<|im_end|>", "qwen3_vl": "<|im_end|>", "llama3": "<|eot_id|>",
    "llama3_1": "<|eot_id|>", "llama3_2": "<|eot_id|>", "gemma": "<end_of_turn>", "gemma3": "<end_of_turn>",
    "gemma4": "<turn|>", "glm4moe": "<|user|>", "gptoss": "<|return|>", "deepseekv3": DEEPSEEK_END,
    "deepseek_r1_distill": DEEPSEEK_END, "cohere": "<|END_OF_TURN_TOKEN|>", "phi3": "<|end|>",
    "phi3_5": "<|end|>", "lfm2": "<|im_end|>", "nemotron_3_nano": "<|im_end|>", "smolvlm": "<end_of_utterance>",
}  # fmt: skip
BEGUN_TAG = re.compile(r"<[^<>\n]*$")
PER_ANSWER = {("qwen3", "tools")}
LONG = ("qwen3_instruct_2507", "qwen3_5_nothink", "qwen3_vl", "llama3_2", "phi3_5", "qwen3_6", "gemma")
"""Near relatives of others, for the long tests."""
TEXT_ARGUMENTS = {"deepseekv3"}
USER = {"role": "user", "content": "What is 17 times 6?"}
SYSTEM = {"role": "system", "content": "Be brief."}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "City"}},
    "required": ["city"],
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Weather of a city", "parameters": PARAMETERS},
    }
]


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"city": city}}
    return said("", tool_calls=[{"id": "abcdef123", "type": "function", "function": function}])


RESULT = {"role": "tool", "tool_call_id": "abcdef123", "name": "weather", "content": '{"degrees": 19}'}
Content = tuple[list[Any], list[Any], list[Any], dict[str, Any]]
CONTENTS: dict[str, Content] = {
    "plain": ([USER], [said("It is 102.")], [said("It is 96.")], {}),
    "system": ([SYSTEM, USER], [said("It is 102.")], [said("It is 96.")], {}),
    "thoughts": (
        [USER],
        [said("It is 102.", reasoning_content="60 plus 42.")],
        [said("It is 96.", reasoning_content="Six times sixteen.")],
        {},
    ),
    "tools": ([USER, call("Porto"), RESULT], [said("It is 19.")], [said("No idea.")], {"tools": TOOLS}),
    "call": ([USER], [call("Porto")], [call("Lima")], {"tools": TOOLS}),
    "kwargs": (
        [USER], [said("It is 102.")], [said("It is 96.")], {"chat_template_kwargs": {"enable_thinking": False}}
    ),
}  # fmt: skip
TYPES = ("messages", "prompt_completion", "preference", "implicit_prompt", "unpaired")


def row_of(kind: str, content: Content) -> dict[str, Any]:
    prompt, chosen, rejected, more = content
    types: dict[str, dict[str, Any]] = {
        "messages": {"messages": prompt + chosen},
        "prompt_completion": {"prompt": prompt, "completion": chosen},
        "preference": {"prompt": prompt, "chosen": chosen, "rejected": rejected},
        "implicit_prompt": {"chosen": prompt + chosen, "rejected": prompt + rejected},
        "unpaired": {"prompt": prompt, "completion": chosen, "label": True},
    }
    return types[kind] | more


def with_text_arguments(row: dict[str, Any]) -> dict[str, Any]:
    """The row with each call's arguments as JSON in a text."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(each) for each in value]
        if isinstance(value, dict):
            return {
                key: json.dumps(each) if key == "arguments" else changed(each) for key, each in value.items()
            }
        return value

    return {key: value if key == "tools" else changed(value) for key, value in row.items()}


def by_trl(row: dict[str, Any], tokenizer: Any) -> tuple[str | None, list[str]]:
    """(prompt, whole texts) as TRL renders a row."""
    example = {key: value for key, value in row.items() if key != "tools"}
    found = apply_chat_template(example, tokenizer, tools=row.get("tools"))
    prompt = found.get("prompt")
    if "text" in found:
        return None, [found["text"]]
    sides = [found[side] for side in ("completion", "chosen", "rejected") if side in found]
    texts = [(prompt or "") + side for side in sides]
    return prompt and BEGUN_TAG.sub("", prompt), texts


def by_us(kind: str, row: dict[str, Any], tokenizer: Any, folder: Path) -> list[tuple[TokenSequence, ...]]:
    """The sequences that the trainer is fed of a row."""
    path = folder / "rows.jsonl"
    other = {"label": False, "completion": [said("No.")]} if kind == "unpaired" else {}
    path.write_text("".join(json.dumps(each) + "\n" for each in (row, row | other)))
    reading = Reading(path)
    if kind in ("messages", "prompt_completion"):
        rows: list[Any] = tokenise_file(reading, tokenizer, 10_000, "answers").rows
    elif kind == "unpaired":
        rows = tokenise_answers(reading, tokenizer, 10_000, "kto", 0).rows
    else:
        rows = tokenise_pairs(reading, tokenizer, 10_000, "dpo").rows
    return [each.sequences() for each in rows if each.line == 1]


@cache
def tokenizer_for(folder: Path, name: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (FOLDER / f"{name}.jinja").read_text()
    tokenizer.eos_token, tokenizer.bos_token = ENDS[name], "<|endoftext|>"
    return tokenizer


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in ENDS]
)
def test_rows_are_rendered_as_trl_renders_them(
    tiny_model: Path, tmp_path: Path, name: str, kind: str
) -> None:
    tokenizer = tokenizer_for(tiny_model, name)
    for title, content in CONTENTS.items():
        row = row_of(kind, content)
        asked = with_text_arguments(row) if name in TEXT_ARGUMENTS else row
        try:
            prompt, texts = by_trl(asked, tokenizer)
        except Exception:
            with pytest.raises(TemplateRefused):
                by_us(kind, row, tokenizer, tmp_path)
            continue
        if len(texts) == 2 and texts[0] == texts[1]:
            with pytest.raises(InputError, match="both sides of every pair alike"):
                by_us(kind, row, tokenizer, tmp_path)
            continue
        rows = by_us(kind, row, tokenizer, tmp_path)
        if (name, title) not in PER_ANSWER or kind != "messages":
            assert len(rows) == 1, title
        sequences = rows[-1]
        assert len(sequences) == len(texts)
        for sequence, text in zip(sequences, texts, strict=True):
            written = tokenizer.decode(sequence.ids)
            behind = text.removeprefix(written)
            assert written + behind == text, title
            if behind.strip():
                assert behind == text[len(written) :], title
                assert written.endswith(ENDS[name]), title
            learnt = tokenizer.decode(sequence.trained)
            assert learnt and learnt in text
            if prompt is not None:
                assert text[len(prompt) :].startswith(learnt), title


def test_named_differences_are_real(tiny_model: Path, tmp_path: Path) -> None:
    for name, title in PER_ANSWER:
        row = row_of("messages", CONTENTS[title])
        assert len(by_us("messages", row, tokenizer_for(tiny_model, name), tmp_path)) == 2
    for name in TEXT_ARGUMENTS:
        with pytest.raises(TypeError):
            by_trl(row_of("messages", CONTENTS["call"]), tokenizer_for(tiny_model, name))


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_row_hands_to_the_template_reaches_it(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    tokenizer = tokenizer_for(tiny_model, "qwen3")
    with_thought = "<think>\n\n</think>\n\n"
    template = tokenizer.chat_template
    tokenizer.chat_template = "{{ mood }}|{{ (tools or [])|length }}|" + template
    try:
        row = row_of(kind, CONTENTS["plain"]) | {"chat_template_kwargs": {"mood": "glad"}, "tools": TOOLS}
        for sequence in by_us(kind, row, tokenizer, tmp_path)[0]:
            assert tokenizer.decode(sequence.ids).startswith("glad|1|")
            assert with_thought in tokenizer.decode(sequence.ids)
    finally:
        tokenizer.chat_template = template


@pytest.mark.parametrize("name", ["add_generation_prompt", "chat_template", "tokenize"])
def test_a_row_cannot_change_how_it_is_rendered(tiny_model: Path, tmp_path: Path, name: str) -> None:
    row = row_of("messages", CONTENTS["plain"]) | {"chat_template_kwargs": {name: True}}
    with pytest.raises(InputError, match=f"rows.jsonl:1: `chat_template_kwargs` holds {name}"):
        by_us("messages", row, tokenizer_for(tiny_model, "qwen3"), tmp_path)


THINKING_CALL = call("Porto") | {"reasoning_content": "I must look it up."}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", ["gptoss", "qwen3", "qwen3_5_think", "nemotron_3_nano", "glm4moe"])
def test_an_answer_after_a_call_with_thoughts_is_trained_alone(
    tiny_model: Path, tmp_path: Path, name: str, kind: str
) -> None:
    tokenizer = tokenizer_for(tiny_model, name)
    content: Content = (
        [USER, THINKING_CALL, RESULT],
        [said("It is 19 degrees.")],
        [said("No idea.")],
        {"tools": TOOLS},
    )
    for sequence in by_us(kind, row_of(kind, content), tokenizer, tmp_path)[-1]:
        learnt = tokenizer.decode([label for label in sequence.labels if label != IGNORED])
        assert '{"degrees"' not in learnt and "tool_response" not in learnt
        if kind != "messages":
            assert "functions" not in learnt and "Porto" not in learnt


def test_gpt_oss_trains_no_tool_result(tiny_model: Path, tmp_path: Path) -> None:
    """TRL's training template masks all but what the assistant writes."""
    tokenizer = tokenizer_for(tiny_model, "gptoss")
    row = {"messages": [USER, THINKING_CALL, RESULT, said("It is 19 degrees.")], "tools": TOOLS}
    first, second = by_us("messages", row, tokenizer, tmp_path)
    final = "<|channel|>final<|message|>It is 19 degrees.<|return|>"
    assert tokenizer.decode(second[0].trained) == final
    [whole] = by_trl(row, tokenizer)[1]
    assert tokenizer.decode(second[0].ids) == whole
    assert "I must look it up." in tokenizer.decode(first[0].trained)


def test_the_second_of_two_answers_is_trained_alone(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_for(tiny_model, "qwen3")
    row = {"messages": [USER, said("It is 102."), said("Or 17 by 6.")]}
    sequences = by_us("messages", row, tokenizer, tmp_path)
    assert tokenizer.decode(sequences[-1][0].trained) == "<think>\n\n</think>\n\nOr 17 by 6.<|im_end|>"

"""What a template leaves out of a row is found part by part, for the templates of many families."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trl
from transformers import AutoTokenizer

from tuner_tui.data.tokens.dropped_parts import Conversed, Dropped, dropped_parts
from tuner_tui.data.tokens.text_child import Conversation
from tuner_tui.errors import InputError
from tuner_tui.runs.events import RunFailed, RunFinished
from tuner_tui.worker.text import rendering

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.runs import Run

CASES = Path(__file__).parents[1] / "data" / "cases"
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
FAMILIES = (
    "cohere2", "deepseek_r1_distill", "diffusion_gemma", "gemma3", "gemma4_v5", "glm4moe", "gptoss", "lfm2", "lfm2_v2",
    "llama3", "llama3_1", "llama3_2", "nemotron_3_nano", "phi3", "qwen2_5", "qwen2_5_vl", "qwen3", "qwen3_5_think",
    "qwen3_instruct_2507",
)  # fmt: skip
TOOL = {
    "type": "function",
    "function": {
        "name": "weather_of",
        "description": "Meteorology.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Whereabouts.", "pattern": "^[A-Z]xq"},
                "days": {"type": "integer", "minimum": 271828},
            },
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "abcdef123",
    "type": "function",
    "function": {"name": "weather_of", "arguments": {"city": "Porto", "days": 314}},
}
PARTS = {
    "what the user says": "questionone",
    "what the assistant says": "answertwo",
    "the assistant's reasoning": "thoughttwo",
    "the assistant's tool calls": "Porto",
    "what the tool says": "nineteen",
    "the tools": "Meteorology",
    "parameters of the tools": '"days"',
    "`description` of the tools": "Whereabouts",
    "`pattern` of the tools": "[A-Z]xq",
    "`minimum` of the tools": "271828",
    "the user's name": "Alicia",
}
"""A word of each part that stands nowhere else in the rows."""
ROWS: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "thoughts in the text": (
        [
            {"role": "user", "content": "questionone"},
            {"role": "assistant", "content": "<think>\nthoughttwo\n</think>\n\nanswertwo"},
        ],
        [],
    ),
    "thoughts in a field": (
        [
            {"role": "user", "content": "questionone"},
            {"role": "assistant", "content": "answertwo", "reasoning_content": "thoughttwo"},
        ],
        [],
    ),
    "speakers": (
        [
            {"role": "user", "content": "questionone", "name": "Alicia"},
            {"role": "assistant", "content": "answertwo"},
        ],
        [],
    ),
    "a call": (
        [
            {"role": "user", "content": "questionone"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ],
        [TOOL],
    ),
    "a result": (
        [
            {"role": "user", "content": "questionone"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {
                "role": "tool",
                "tool_call_id": "abcdef123",
                "name": "weather_of",
                "content": '{"said": "nineteen"}',
            },
            {"role": "assistant", "content": "answertwo"},
        ],
        [TOOL],
    ),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_out_is_what_transformers_does_not_write(tokenizer: Any, family: str, rows: str) -> None:
    tokenizer.chat_template = (TEMPLATES / f"{family}.jinja").read_text()
    turns, tools = ROWS[rows]
    try:
        written = tokenizer.apply_chat_template(turns, tools=tools or None, tokenize=False)
    except Exception as error:  # templates raise what they like
        pytest.skip(f"{family} refuses such a row: {error}")
    has = json.dumps([turns, tools])
    wanted = {part for part, word in PARTS.items() if word in has and word.strip('"') not in written}
    if "the tools" in wanted:  # without them, what they are like does not count
        wanted = {part for part in wanted if not part.endswith(" of the tools")}

    [look] = rendering.look_for_parts(tokenizer, [Conversation(turns, tools=tools)])
    assert {part.what for part in look.dropped} == wanted


def write(template: str) -> Any:
    from tuner_tui.data.tokens import chat_template

    return lambda turns, asks, tools, kwargs: chat_template.render(
        template, turns, asks, list(tools) or None, {}, kwargs
    )


def test_words_that_stand_elsewhere_do_not_hide_a_call() -> None:
    """The question has the call's city, and the tools its name."""
    template = "{{ tools }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "weather_of Porto, 314 days?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "assistant", "content": "weather_of Porto"},
    ]
    assert dropped_parts(Conversed(turns, [TOOL]), write(template)) == [
        Dropped(1, "the assistant's tool calls")
    ]


EARLIER_THOUGHTS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "<think>b</think>c"},
    {"role": "user", "content": "d"},
    {"role": "assistant", "content": "<think>e</think>f"},
]


@pytest.mark.parametrize(
    ("how", "count"), [({}, 0), ({"is_trained_whole": True}, 1), ({"answer_from": 3}, 0)]
)
def test_thoughts_of_earlier_turns_are_looked_for_where_they_are_trained(
    how: dict[str, Any], count: int
) -> None:
    """Qwen3 writes those of the last turn: each answer is trained as the last one, unless loss is on all."""
    template = (TEMPLATES / "qwen3.jinja").read_text()
    assert len(dropped_parts(Conversed(EARLIER_THOUGHTS, **how), write(template))) == count


def test_thoughts_of_turns_that_are_not_trained_are_context() -> None:
    template = (CASES / "templates" / "strip.jinja").read_text()
    turns = [dict(turn, weight=0) if turn["role"] == "assistant" else turn for turn in EARLIER_THOUGHTS]
    assert len(dropped_parts(Conversed(EARLIER_THOUGHTS), write(template))) == 2
    assert dropped_parts(Conversed(turns), write(template)) == []


def test_a_template_that_looks_into_the_words_is_asked_with_them() -> None:
    template = (
        "{% for m in messages %}{% if m.content not in ['say \"a\"', 'b'] %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content | tojson if m.role == 'user' else '' }}{% endfor %}"
    )
    turns = [{"role": "user", "content": 'say "a"'}, {"role": "assistant", "content": "b"}]

    def render(*asked: Any) -> str:
        try:
            return str(write(template)(*asked))
        except Exception as error:
            raise InputError("refused", str(error)) from error

    assert [part.what for part in dropped_parts(Conversed(turns), render)] == ["what the assistant says"]


def run_case(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, template: str, rows: str, method: str = "sft"
) -> Run:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    if template != "its own":
        shutil.copy(CASES / "templates" / f"{template}.jinja", model / "chat_template.jinja")
    if template == "next":  # the user's mark also ends an answer, as GLM lists it
        settings = json.loads((model / "generation_config.json").read_text())
        marks = AutoTokenizer.from_pretrained(model).convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
        (model / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": marks}))
        written = (model / "chat_template.jinja").read_text().replace("<repo_name>", "<|im_start|>")
        (model / "chat_template.jinja").write_text(written)
    contents = [json.loads(line) for line in (CASES / "rows" / f"{rows}.jsonl").read_text().splitlines()]
    return train(
        contents,
        model={"source": str(model), "precision": "fp32"},
        method={"kind": method},
        training={"max_steps": 1, "max_length": 512, "batch_size": 2},
    )


@pytest.mark.parametrize(
    ("template", "rows", "words"),
    [
        ("its own", "tools_sft", ("leaves out the assistant's tool calls and the tools", "turn 2")),
        ("strip", "think", ("leaves out the assistant's reasoning", "turn 2")),
        ("next", "multi_turn", ("end_never_trained",)),
    ],
)
def test_it_stops_before_the_first_step(
    train: Callable[..., Run],
    tiny_model: Path,
    tmp_path: Path,
    template: str,
    rows: str,
    words: tuple[str, ...],
) -> None:
    failed = run_case(train, tiny_model, tmp_path, template, rows).last(RunFailed)
    assert failed.title.startswith("Stopped before the first step")
    assert all(word in f"{failed.title} {failed.message} {failed.hint}" for word in words), failed


@pytest.mark.parametrize(
    ("template", "rows"), [("tojson", "tools_sft"), ("its own", "think"), ("its own", "multi_turn")]
)
def test_it_trains_what_is_written(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, template: str, rows: str
) -> None:
    assert run_case(train, tiny_model, tmp_path, template, rows).last(RunFinished).step == 1

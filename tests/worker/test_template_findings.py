"""What a template leaves out of a row is found wherever the row stands, also names, parameters and further names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trl
from transformers import AutoTokenizer

from tests.worker.runs import write_rows
from tests.worker.test_dropped_parts import FAMILIES
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.tokens.chat_template import names_read
from tuner_tui.runs.events import RunFailed, RunFinished, Warned
from tuner_tui.worker.text import token_cache
from tuner_tui.worker.text.tokens import tokenise_many
from tuner_tui.worker.training.template_findings import dropped_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.runs import Run

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
CALL = {"type": "function", "function": {"name": "weather_of", "arguments": {"city": "Porto"}}}
FAR = 233
"""The place of a row that is neither among the first ones nor in the sample."""
SWITCHES = {
    "enable_thinking": (False, True), "reasoning_effort": ("low", "high"), "date_string": ("1 May", "2 May"),
    "builtin_tools": ([], ["browser"]), "preserve_thinking": (False, True), "model_identity": ("I am.", "I was."),
    "custom_instructions": ("Be a pirate", "Be kind"), "add_vision_id": (False, True),
}  # fmt: skip


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model, bos_token="<|im_start|>")


def turns(number: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"answer {number}", **more},
    ]


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"messages": turns(number), **more}


def findings(
    path: Path, tokenizer: Any, rows: list[dict[str, Any]], **how: Any
) -> dict[str, tuple[str, str]]:
    reading = Reading(write_rows(path / "rows.jsonl", rows))
    return {found.name: (found.what, found.why) for found in dropped_turns(reading, tokenizer, **how)}


def far(odd: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows alike but for one."""
    first = row(0, tools=[], chat_template_kwargs={})
    return [first, *map(row, range(1, FAR)), odd, *map(row, range(FAR, FAR + 90))]


ODD = {
    "calls": ({"messages": turns(0, tool_calls=[CALL])}, "the assistant's tool calls"),
    "thoughts": ({"messages": turns(0, reasoning_content="hm")}, "the assistant's reasoning"),
    "tools": (row(0, tools=[{"type": "function", "function": {"name": "weather_of"}}]), "the tools"),
    "a kwarg": (
        row(0, chat_template_kwargs={"custom_instructions": "Be a pirate"}),
        "`custom_instructions` of chat_template_kwargs",
    ),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("family", ["its own", "phi3", "llama3"])
def test_one_odd_row_among_many_is_found(tokenizer: Any, tmp_path: Path, family: str, odd: str) -> None:
    if family != "its own":
        tokenizer.chat_template = (TEMPLATES / f"{family}.jinja").read_text()
    odd_row, part = ODD[odd]
    told = findings(tmp_path, tokenizer, far(odd_row))
    assert told["template_drops_turns"][0] == f"the chat template leaves out {part}"
    assert f"rows.jsonl:{FAR + 1}: " in told["template_drops_turns"][1]


def test_a_second_system_prompt_far_down_is_found(tokenizer: Any, tmp_path: Path) -> None:
    """DeepSeek R1's distilled models are given the last one alone."""
    tokenizer.chat_template = (TEMPLATES / "deepseek_r1_distill.jinja").read_text()
    system = {"role": "system", "content": "Be kind."}
    other = {"role": "system", "content": "Be short."}
    rows = [{"messages": [system, *turns(number)]} for number in range(FAR)]
    rows.append({"messages": [system, *turns(1), other, *turns(2)]})
    told = findings(tmp_path, tokenizer, rows)
    assert told["template_drops_turns"][0] == "the chat template leaves out what the system says"


PICKY = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if 'wombat' not in m.content %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Leaves out a text for its words."""


def tokenised(path: Path, tokenizer: Any, rows: list[dict[str, Any]], loss_on: str = "answers") -> list[int]:
    """The numbers of the rows of which a text is missing, by tokenising them."""
    reading = Reading(write_rows(path / "rows.jsonl", rows))
    _, made = token_cache.take_or_make(reading, tokenizer, 500, loss_on)
    return [each.line for each in made if each.is_doubtful]


@pytest.mark.parametrize("loss_on", ["answers", "all"])
@pytest.mark.parametrize("is_cached", [False, True])
def test_each_row_is_asked_for_its_texts(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cached: bool, loss_on: str
) -> None:
    if is_cached:
        monkeypatch.setattr(token_cache, "SMALLEST_BYTES", 0)
    tokenizer.chat_template = PICKY
    odd = row(0)
    odd["messages"][1]["content"] = "A wombat."
    assert findings(tmp_path, tokenizer, far(odd)) == {}  # by its kinds of parts it is like the others
    for _ in range(2):  # made, then taken from the cache
        doubtful = tokenised(tmp_path, tokenizer, far(odd), loss_on)
        assert doubtful == [FAR + 1]
    told = findings(tmp_path, tokenizer, far(odd), doubtful=doubtful, loss_on=loss_on)
    assert told["template_drops_turns"] == (
        "the chat template leaves out what the assistant says",
        f"{tmp_path}/rows.jsonl:{FAR + 1}: not in the tokens that the model receives in turn 2.",
    )


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_a_run_stops_for_the_text_of_one_row(train: Callable[..., Run], tmp_path: Path, method: str) -> None:
    template = tmp_path / "picky.jinja"
    template.write_text(PICKY)

    def made(number: int, answer: str) -> dict[str, Any]:
        if method == "sft":
            return {"question": f"q {number}", "answer": answer}
        asked = [{"role": "user", "content": f"q {number}"}]
        sides = {"chosen": answer, "rejected": "no"}
        return {"prompt": asked, **{k: [{"role": "assistant", "content": v}] for k, v in sides.items()}}

    rows = [made(number, "yes") for number in range(FAR)] + [made(FAR, "a wombat")]
    run = train(
        rows,
        data={
            "train": str(tmp_path / "rows.jsonl"),
            "template": str(template),
            "allow": ["template_changed"],
        },
        method={"kind": method},
        training={"max_steps": 1},
    )
    failed = run.last(RunFailed)
    assert "leaves out what the assistant says" in failed.title
    assert f"rows.jsonl:{FAR + 1}" in failed.message


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_that_is_only_written_otherwise_is_no_finding(
    tokenizer: Any, tmp_path: Path, name: str
) -> None:
    """What transformers writes of plain rows holds their texts, and then none is doubtful."""
    from tuner_tui.data.rows.types import example_of

    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    said = [' two\nlines "quoted" ', "<b>é</b>", "<think>\nhm\n</think>\n\nyes"]
    rows = [
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": each}]}
        for each in said
    ]
    for number, each in enumerate(rows):
        try:
            written = tokenizer.apply_chat_template(each["messages"], tokenize=False)
        except Exception as error:  # templates raise what they like
            pytest.skip(f"refused: {error}")
        text = each["messages"][1]["content"].strip()
        is_written = all(
            piece.strip() in written for piece in text.replace("</think>", "<think>").split("<think>")
        )
        [made] = tokenise_many([example_of(each, tmp_path, number)], tokenizer, 2000, "answers")
        assert made.is_doubtful is not is_written
        if is_written:
            assert findings(tmp_path, tokenizer, [each]) == {}


# Names, parameters and further names ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [path.stem for path in sorted(TEMPLATES.glob("*.jinja"))])
def test_a_name_that_changes_what_transformers_writes_is_read(tokenizer: Any, name: str) -> None:
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    talk = [{"role": "system", "content": "Be kind."}, *turns(1), *turns(2)]
    read = names_read(tokenizer.chat_template)
    for kwarg, values in SWITCHES.items():
        for asks in (False, True):
            try:
                written = {
                    tokenizer.apply_chat_template(
                        talk[:-1] if asks else talk,
                        tokenize=False,
                        add_generation_prompt=asks,
                        **{kwarg: value},
                    )
                    for value in values
                }
            except Exception:  # templates raise what they like
                continue
            if kwarg not in read:
                assert len(written) == 1, kwarg


def test_a_template_is_parsed_and_not_run_for_its_names() -> None:
    endless = (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{{ x }}{% endfor %}"
    )
    assert names_read(f"{endless}{{% endfor %}}{{% endfor %}}{{{{ raise_exception('no') }}}}") >= {"x"}


def test_what_the_template_has_no_place_for_is_told_apart(tokenizer: Any, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q", "name": "Alice"}, {"role": "assistant", "content": "a"}]
    kwargs = {
        "custom_instructions": "Be a pirate",
        "enable_thinking": False,
        "nothing": "",
    }
    told = findings(tmp_path, tokenizer, [{"messages": talk, "chat_template_kwargs": kwargs}])
    assert told["template_drops_turns"][0] == (
        "the chat template leaves out `custom_instructions` of chat_template_kwargs"
    )
    assert told["template_drops_fields"][0] == (
        "the chat template has no place for the user's name and `enable_thinking` of chat_template_kwargs"
    )


def test_what_the_template_writes_is_no_finding(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.chat_template = (
        "{{ custom_instructions }}{% for m in messages %}{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}: "
        "{{ m.content }}{{ eos_token }}{% endfor %}{% if enable_thinking %}{% endif %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    talk = [{"role": "user", "content": "q", "name": "Alice"}, {"role": "assistant", "content": "a"}]
    kwargs = {"custom_instructions": "Be a pirate", "enable_thinking": False}
    assert findings(tmp_path, tokenizer, [{"messages": talk, "chat_template_kwargs": kwargs}]) == {}
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ custom_instructions }}", "{% if custom_instructions %}!{% endif %}"
    )
    told = findings(tmp_path, tokenizer, [{"messages": talk, "chat_template_kwargs": kwargs}])
    assert "custom_instructions" in told["template_drops_turns"][0]  # asked for, and not written


def test_the_name_of_a_result_repeats_that_of_its_call(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.chat_template = (TEMPLATES / "qwen2_5.jinja").read_text()

    def talk(name: str) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "name": name, "content": "19"},
                {"role": "assistant", "content": "a"},
            ]
        }

    assert findings(tmp_path, tokenizer, [talk("weather_of")]) == {}
    told = findings(tmp_path, tokenizer, [talk("another")])
    assert told["template_drops_fields"][0] == "the chat template has no place for the tool's name"


NAMES_ONLY = (
    "{% for t in tools or [] %}{{ t.function.name }}: {{ t.function.description }}\n{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}"
    "{% endfor %}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.mark.parametrize(
    "parameters",
    [
        {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Porto"]}},
            "required": ["city"],
        },
        {"city": {"type": "string", "description": "Where to."}},  # names alone, as some data sets have it
        {"type": "object", "properties": {"type": {"type": "string"}, "required": {"type": "string"}}},
        {"anyOf": [{"type": "object", "properties": {"city": {"type": "string"}}}]},
    ],
)
def test_parameters_that_are_not_written_are_found(
    tokenizer: Any, tmp_path: Path, parameters: dict[str, Any]
) -> None:
    tool = {
        "type": "function",
        "function": {"name": "weather_of", "description": "Weather.", "parameters": parameters},
    }
    tokenizer.chat_template = NAMES_ONLY
    rows = [{"messages": turns(0, tool_calls=[CALL]), "tools": [tool]}]
    told = findings(tmp_path, tokenizer, rows)
    assert told["template_drops_turns"][0] == "the chat template leaves out parameters of the tools"
    tokenizer.chat_template = NAMES_ONLY.replace("{{ t.function.description }}", "{{ t | tojson }}")
    assert findings(tmp_path, tokenizer, rows) == {}


def test_details_are_named_and_the_run_goes_on(train: Callable[..., Run]) -> None:
    talk = [{"role": "user", "content": "q", "name": "Alice"}, {"role": "assistant", "content": "a"}]
    kwargs = {"enable_thinking": False}
    run = train([{"messages": talk, "chat_template_kwargs": kwargs}] * 2, training={"max_steps": 1})
    assert run.last(RunFinished).step == 1
    [warned] = [each for each in run.all(Warned) if "no place" in each.message]
    assert "the user's name and `enable_thinking` of chat_template_kwargs" in warned.message
    assert "rows.jsonl:1" in warned.message


def test_prompts_and_sides_are_looked_through_as_they_are_trained(tokenizer: Any, tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "q"}]
    sides = {"chosen": turns(0, tool_calls=[CALL])[1:], "rejected": turns(1)[1:]}
    told = findings(tmp_path, tokenizer, [{"prompt": asked, **sides}], method="dpo")
    assert told["template_drops_turns"][0] == "the chat template leaves out the assistant's tool calls"
    assert "in turn 2" in told["template_drops_turns"][1]
    tokenizer.chat_template = (TEMPLATES / "qwen3.jinja").read_text()
    thinking = {"role": "assistant", "content": "<think>b</think>c"}
    several = [thinking, {"role": "user", "content": "d"}, thinking]
    assert findings(tmp_path, tokenizer, [{"prompt": asked, "completion": several}], method="sft") == {}
    pair = {"prompt": asked, "chosen": several, "rejected": [*several[:2], turns(2)[1]]}
    told = findings(
        tmp_path, tokenizer, [pair], method="dpo"
    )  # a side is one answer, of which Qwen3 writes the last
    assert told["template_drops_turns"][0] == "the chat template leaves out the assistant's reasoning"


def test_rows_of_text_have_nothing_to_leave_out(tokenizer: Any, tmp_path: Path) -> None:
    assert findings(tmp_path, tokenizer, [{"text": json.dumps(turns(0))}]) == {}

"""A run whose template does not end fails before its first step; templates write what they write in transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoTokenizer

from tests.safety.limited_inputs import BIG_TEMPLATE, SLOW_TEMPLATE, lower_limits, model_with
from tests.worker.runs import Run
from tuner_tui.runs.events import RunFailed, StepLogged
from tuner_tui.worker.text import rendering
from tuner_tui.worker.train import run_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

USER, ASSISTANT = {"role": "user", "content": " Who? "}, {"role": "assistant", "content": "Me.", "name": None}
THINKING = {"role": "assistant", "content": "Me.", "reasoning": "Hm."}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "é": 1}}}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.5}}}],
}
TEMPLATES = {
    "generation": "{% for m in messages %}{% generation %}{{ m['content'] }}\n{% endgeneration %}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "blocks": "  {% if true %}\n  a\n  {% endif %}\n{{ bos_token }}{{ eos_token }}{{ pad_token }}",
    "tojson": "{{ messages | tojson }}{{ (tools or []) | tojson(indent=2, sort_keys=True) }}{{ tools is none }}",
    "dict": "{{ dict(a=1) }}{{ dict.fromkeys(['b']) }}{{ documents is none }}{{ add_generation_prompt }}",
    "namespace": "{% set ns = namespace(x=0) %}{% for m in messages %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ ns.x }}",
    "underscore": "{% set ns = namespace(_x=0) %}",
    "thoughts": "{% for m in messages %}{{ m.thinking }}|{{ m.reasoning_content }}|{{ m.reasoning }}{% endfor %}",
    "date": "{{ strftime_now('%Y') }}{{ strftime_now(format='%m') }}",
    "refuses": "{{ raise_exception('no system prompt here') }}",
    "undefined": "{{ nothing.more }}",
    "forbidden": "{{ messages.append(1) }}",
    "missing": "{{ messages[0].name is defined }}{{ messages[-1].name is defined }}",
}
CONVERSATIONS: tuple[tuple[list[dict[str, Any]], bool, list[Any]], ...] = (
    ([USER], True, []),
    ([USER, ASSISTANT], False, []),
    ([USER, THINKING], False, [TOOL]),
    ([USER, CALL], False, [TOOL]),
    ([], False, []),
)


@pytest.fixture(autouse=True)
def _new_child() -> Iterator[None]:
    """Limits are read when a child starts."""
    rendering.close()
    yield
    rendering.close()


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_written_is_what_transformers_writes(tiny_model: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATES[name]
    for turns, asks, tools in CONVERSATIONS:
        try:
            wanted = tokenizer.apply_chat_template(
                turns, tools=tools or None, tokenize=False, add_generation_prompt=asks
            )
        except Exception as error:
            with pytest.raises(rendering.TemplateRefused) as raised:
                rendering.render(tokenizer, turns, "row", asks_for_answer=asks, tools=tools)
            if turns and name != "underscore":  # those two are worded by us
                assert str(error) in raised.value.message
            continue
        assert rendering.render(tokenizer, turns, "row", asks_for_answer=asks, tools=tools) == wanted


@pytest.mark.parametrize(
    ("template", "setting"), [(SLOW_TEMPLATE, "limits.seconds"), (BIG_TEMPLATE, "limits.memory")]
)
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_run_fails_before_its_first_step(
    tmp_path: Path,
    tiny_model: Path,
    make_run: Callable[..., RunFolder],
    method: str,
    template: str,
    setting: str,
) -> None:
    lower_limits()
    model = model_with(tiny_model, tmp_path / "model", template)
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}]
    if method == "dpo":
        rows = [{"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{**ASSISTANT, "content": "You."}]}] * 2  # type: ignore[dict-item]
    folder = make_run(rows, model={"source": str(model), "precision": "fp32"}, method={"kind": method})
    run = Run(folder, run_job(folder.path))
    failed = run.last(RunFailed)
    assert run.exit_code == 1 and not run.all(StepLogged)
    assert "chat template" in failed.message.lower() and setting in failed.message
    assert f"config set {setting}" in failed.hint

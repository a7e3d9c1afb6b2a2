"""Chat templates of many families taken apart for Ollama: what Go's template writes is what Jinja writes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoTokenizer

from tuner_tui.errors import InputError
from tuner_tui.sharing.modelfile import go_template, modelfile
from tuner_tui.worker.export.chat_template import put_together, stop_texts, take_apart
from tuner_tui.worker.export.write import sampling_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAMILIES = {
    "chatml": CHATML,
    "default system": (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
        + CHATML
    ),
    "llama 3": (
        "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n{{ m['content'] | trim }}<|eot|>"
        "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
    ),
    "instruct": (
        "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
        "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
        "{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
    ),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        "{{ m['content'] | trim }}</turn>\n{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
    ),
    "braces": (
        "{% for m in messages %}{{ '{{' }}{{ m['role'] }}}} {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}{{ '{{' }}assistant}} {% endif %}"
    ),
}
TALKS = (
    (("user", "Hello"),),
    (("user", "Hello"), ("assistant", "Hi."), ("user", "Who are you?")),
    (("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Bye")),
)


def tokenizer_with(template: str, tiny_model: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    tokenizer.bos_token = "<|endoftext|>"
    return tokenizer


def as_ollama_writes(template: str, turns: Sequence[tuple[str, str]]) -> str:
    """What Go's template engine makes of the few constructs that we write."""
    has_system = any(role == "system" for role, _ in turns)
    if opening := re.match(r"\{\{ if not \.System \}\}(.*?)\{\{ end \}\}", template, re.S):
        template = ("" if has_system else opening[1]) + template[opening.end() :]
    head, rest = template.split("{{ range .Messages }}")
    body, tail = rest.rsplit("{{ end }}{{ end }}", 1)
    text = head
    for role, content in turns:
        branch = re.search(r'if eq \.Role "' + role + r'" \}\}(.*?)(?=\{\{ else if|\Z)', body, re.S)
        text += branch[1].replace("{{ .Content }}", content) if branch else ""
    return (text + tail).replace('{{ "{{" }}', "{{")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_is_written_as_jinja_writes_it(family: str, tiny_model: Path) -> None:
    tokenizer = tokenizer_with(FAMILIES[family], tiny_model)
    template = take_apart(tokenizer)
    for turns in TALKS:
        if turns[0][0] == "system" and "system" not in template.before:
            continue
        messages = [{"role": role, "content": content} for role, content in turns]
        wanted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert put_together(template, turns) == wanted
        assert as_ollama_writes(go_template(template), turns) == wanted
    assert ("system" in template.before) is (family != "instruct")
    sampling = {"temperature": 0.6, "top_k": 20.0, "repetition_penalty": 1.05}
    text = modelfile(template, stop_texts(tokenizer, template), 512, sampling, "model.gguf")
    assert "PARAMETER temperature 0.6\nPARAMETER top_k 20\nPARAMETER repeat_penalty 1.05\n" in text
    assert "temperature" not in modelfile(template, (), 512, {}, "model.gguf")
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """') and 'PARAMETER stop "<|im_end|>"' in text


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}: {{ m['content'] }}\n{% endfor %}",
        "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}",
        "{{ messages | length }}",
    ],
)
def test_a_template_that_has_no_such_pieces_is_refused(template: str, tiny_model: Path) -> None:
    with pytest.raises(InputError, match="cannot be written for Ollama"):
        take_apart(tokenizer_with(template, tiny_model))


def test_a_model_without_a_template_is_refused(tiny_model: Path) -> None:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="No chat template"):
        take_apart(tokenizer)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95, "eos": 2}, {"temperature": 0.6, "top_p": 0.95}),
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}),
        ({"eos_token_id": 2}, {}), (None, {}),
    ],
)  # fmt: skip
def test_the_base_s_sampling_settings(
    tmp_path: Path, settings: dict[str, Any] | None, expected: dict[str, float]
) -> None:
    if settings is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    assert sampling_of(tmp_path) == expected

"""Ollama's Modelfile: the chat template in Ollama's language, stop tokens, and parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner_tui.runs.export_events import ChatTemplate

PARAMETERS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}  # fmt: skip
"""Ollama's names of transformers' sampling settings."""
LARGEST_CONTEXT = 8192
"""Ollama reserves memory for the whole context; longer ones are for the user to set."""


def modelfile(
    template: ChatTemplate,
    stop: Sequence[str],
    context_length: int | None,
    sampling: Mapping[str, float],
    model_file: str,
) -> str:
    """The text of a Modelfile. Raises InputError when the template cannot be written in one.

    Sampling settings are the base's own, by transformers' names; without them Ollama's defaults hold.
    """
    written = go_template(template)
    if '"""' in written:
        raise InputError(
            "This chat template cannot be written for Ollama",
            'It contains """, which ends a text in a Modelfile.',
            "Export it with --as gguf.",
        )
    lines = [f"FROM ./{model_file}", f'TEMPLATE """{written}"""']
    lines += [f"PARAMETER stop {json.dumps(text, ensure_ascii=False)}" for text in stop]
    if context_length:
        lines.append(f"PARAMETER num_ctx {min(context_length, LARGEST_CONTEXT)}")
    lines += [
        f"PARAMETER {PARAMETERS[name]} {value:g}" for name, value in sampling.items() if name in PARAMETERS
    ]
    return "\n".join(lines) + "\n"


def go_template(template: ChatTemplate) -> str:
    """The template in Go's language, as Ollama gives it .System and .Messages (role and content each).

    No trim marks: line breaks of the pieces must stay.
    """
    text = ""
    if template.default_system:
        text += "{{ if not .System }}" + _literal(template.default_system) + "{{ end }}"
    text += "{{ range .Messages }}"
    for position, (role, before) in enumerate(template.before.items()):
        word = "if" if position == 0 else "else if"
        after = template.after[role]
        text += f'{{{{ {word} eq .Role "{role}" }}}}{_literal(before)}{{{{ .Content }}}}{_literal(after)}'
    return text + "{{ end }}{{ end }}" + _literal(template.answer_start)


def _literal(text: str) -> str:
    """Literal text in Go's template language."""
    return text.replace("{{", '{{ "{{" }}')

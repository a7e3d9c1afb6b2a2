"""The files beside a tokenizer that say which chat template and special tokens it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What "chatml" stands for as data.template."""
TEMPLATE_FILE = "chat_template.jinja"
"""Where transformers keeps a template beside a tokenizer; beside an adapter, the one its run took instead."""
SETTINGS_FILE = "tokenizer_config.json"


def template_text(name: str) -> str:
    """The template that data.template names: "chatml", or a file's text. Raises InputError."""
    if name == "chatml":
        return CHATML
    try:
        return guarded.read_text(Path(name).expanduser())
    except (guarded.Unreadable, RuntimeError) as error:
        problem = error.problem if isinstance(error, guarded.Unreadable) else str(error)
        raise InputError(
            "The chat template cannot be read",
            f"{name}: {problem}.",
            'Set data.template to a file, or to "chatml".',
        ) from error


def template_beside(folder: Path) -> str | None:
    """The chat template that lies in a folder as a file of its own; None where there is none.

    Raises InputError for one that cannot be read, such as a pipe: the model has a template then, and not this one.
    """
    try:
        return guarded.read_text(folder / TEMPLATE_FILE)
    except guarded.Unreadable as error:
        if error.is_missing:
            return None
        raise InputError(
            "The chat template cannot be read",
            f"{error.path}: {error.problem}.",
            "Put the original file in its place, or delete it where the model needs none.",
        ) from None


def own_template(folder: Path) -> tuple[str | None, Path]:
    """(a tokenizer's own chat template, the file that it stands in). Raises InputError as `template_beside` does."""
    if (beside := template_beside(folder)) is not None:
        return beside, folder / TEMPLATE_FILE
    template = _settings(folder / SETTINGS_FILE).get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None, folder / SETTINGS_FILE


def special_tokens_of(folder: Path) -> dict[str, str]:
    """A tokenizer's special tokens by name, such as {"eos_token": "</s>"}."""
    settings = _settings(folder / "special_tokens_map.json") | _settings(folder / SETTINGS_FILE)
    named = {
        key: value.get("content") if isinstance(value, dict) else value
        for key, value in settings.items()
        if key.endswith("_token")
    }
    return {key: value for key, value in named.items() if isinstance(value, str)}


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(guarded.read_bytes(path))
    except (guarded.Unreadable, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}

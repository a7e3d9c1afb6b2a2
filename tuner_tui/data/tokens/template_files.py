"""The files beside a tokenizer that say which chat template and special tokens it has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError
from tuner_tui.files import entries

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What "chatml" stands for as data.template."""
TEMPLATE_FILE = "chat_template.jinja"
"""Where transformers keeps a template beside a tokenizer; beside an adapter, the one its run took instead."""
NAMED_TEMPLATES_FOLDER = "additional_chat_templates"
"""Where transformers keeps further templates, each in NAME.jinja."""
SETTINGS_FILE = "tokenizer_config.json"
DEFAULT, TOOL_USE = "default", "tool_use"
"""Names of templates that are chosen; others are there for those who ask for them."""
MOST_TEMPLATES = 100


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
    return _template_in(folder / TEMPLATE_FILE)


def _template_in(path: Path) -> str | None:
    try:
        return guarded.read_text(path)
    except guarded.Unreadable as error:
        if error.is_missing:
            return None
        raise InputError(
            "The chat template cannot be read",
            f"{error.path}: {error.problem}.",
            "Put the original file in its place, or delete it where the model needs none.",
        ) from None


def own_templates(folder: Path) -> tuple[dict[str, str], Path]:
    """(a tokenizer's own chat templates by name, the file that they stand in); a single one is the default.

    As transformers has it, files of their own count alone. Raises InputError as `template_beside` does.
    """
    found: dict[str, str] = {}
    if (beside := template_beside(folder)) is not None:
        found[DEFAULT] = beside
    for path in sorted(entries(folder / NAMED_TEMPLATES_FOLDER, MOST_TEMPLATES)):
        if path.suffix == ".jinja" and (text := _template_in(path)) is not None:
            found[path.stem] = text
    if found:
        return found, folder / TEMPLATE_FILE
    return named(_settings(folder / SETTINGS_FILE).get("chat_template")), folder / SETTINGS_FILE


def named(own: Any) -> dict[str, str]:
    """Chat templates by name, from a single text, from an object, or from a list of names and templates."""
    if isinstance(own, list | tuple):
        own = {each.get("name"): each.get("template") for each in own if isinstance(each, dict)}
    if not isinstance(own, dict):
        own = {DEFAULT: own}
    return {str(name): text for name, text in own.items() if isinstance(text, str) and text}


def template_for(templates: Mapping[str, str], tools: Sequence[Any] | None) -> str | None:
    """The template that a conversation is written with: as transformers chooses, by whether it has tools."""
    return templates[TOOL_USE] if tools and TOOL_USE in templates else templates.get(DEFAULT)


def special_tokens_of(folder: Path) -> dict[str, str]:
    """A tokenizer's special tokens by name, such as {"eos_token": "</s>"}."""
    settings = _settings(folder / "special_tokens_map.json") | _settings(folder / SETTINGS_FILE)
    named = {
        key: value.get("content") if isinstance(value, dict) else value
        for key, value in settings.items()
        if key.endswith("_token")
    }
    return {key: value for key, value in named.items() if isinstance(value, str)}


def end_ids_of(folder: Path) -> frozenset[int]:
    """The IDs of a model's EOS tokens by its configuration, which may name more than its tokenizer does."""
    config = _settings(folder / "config.json")
    inner = config.get("text_config")
    given = [
        settings.get("eos_token_id")
        for settings in (config, inner, _settings(folder / "generation_config.json"))
        if isinstance(settings, dict)
    ]
    each = [number for ids in given for number in (ids if isinstance(ids, list) else [ids])]
    return frozenset(number for number in each if isinstance(number, int))


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(guarded.read_bytes(path))
    except (guarded.Unreadable, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}

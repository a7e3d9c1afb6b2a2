"""Copies a run's tokenizer into an export, without paths of this machine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.data.tokens.template import TEMPLATE_FILE
from tuner_tui.models.model_folder import read_json
from tuner_tui.worker.export.json_files import write_json
from tuner_tui.worker.export.older_readers import tokenizer_config_for_older

if TYPE_CHECKING:
    from pathlib import Path

FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
NAMED_TEMPLATES = "additional_chat_templates"
"""Where transformers keeps templates beside the default one."""
LOCAL_KEYS = ("_name_or_path", "name_or_path", "is_local", "local_files_only", "cache_dir")


def copy_tokenizer(source: Path, out: Path, template: str | None = None) -> None:
    """Copy a tokenizer's files without the keys that name where it was loaded from.

    A chat template that is given goes in place of the files' own. Several templates by name, which transformers keeps
    in a folder, go into the settings, so that all files stand side by side.
    """
    named = _named_templates(source) if template is None else []
    for name in FILES:
        is_replaced = (template is not None and name == "chat_template.json") or (
            named and name == TEMPLATE_FILE
        )
        if (source / name).is_file() and not is_replaced:
            shutil.copyfile(source / name, out / name)
    settings = out / "tokenizer_config.json"
    if settings.is_file():
        dropped = LOCAL_KEYS if template is None else (*LOCAL_KEYS, "chat_template")
        remaining_settings = {key: value for key, value in read_json(settings).items() if key not in dropped}
        remaining_settings |= {"chat_template": named} if named else {}
        write_json(settings, tokenizer_config_for_older(remaining_settings))
    if template is not None:
        (out / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def _named_templates(folder: Path) -> list[dict[str, str]]:
    """The templates of a folder that has several, as tokenizer_config.json lists them; empty for one or none."""
    others = sorted((folder / NAMED_TEMPLATES).glob("*.jinja"))
    if not others:
        return []
    files = {"default": folder / TEMPLATE_FILE} | {path.stem: path for path in others}
    return [
        {"name": name, "template": guarded.read_text(path)} for name, path in files.items() if path.is_file()
    ]

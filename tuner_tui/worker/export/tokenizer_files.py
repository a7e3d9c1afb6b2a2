"""Copies a run's tokenizer into an export, without paths of this machine."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from tuner_tui.data.tokens.template import TEMPLATE_FILE
from tuner_tui.models.model_folder import read_json

if TYPE_CHECKING:
    from pathlib import Path

FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
LOCAL_KEYS = ("_name_or_path", "name_or_path", "is_local", "local_files_only", "cache_dir")


def copy_tokenizer(source: Path, out: Path, template: str | None = None) -> None:
    """Copy a tokenizer's files without the keys that name where it was loaded from.

    `template` replaces the files' own chat template.
    """
    for name in FILES:
        is_replaced = template is not None and name == "chat_template.json"
        if (source / name).is_file() and not is_replaced:
            shutil.copyfile(source / name, out / name)
    settings = out / "tokenizer_config.json"
    if settings.is_file():
        dropped = LOCAL_KEYS if template is None else (*LOCAL_KEYS, "chat_template")
        write_json(settings, {key: value for key, value in read_json(settings).items() if key not in dropped})
    if template is not None:
        (out / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON settings file as transformers does."""
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )

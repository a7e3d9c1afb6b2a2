"""Finds a model's tokenizer files on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.errors import InputError
from tuner_tui.models import dequantised
from tuner_tui.models.source import find_source

if TYPE_CHECKING:
    from pathlib import Path


class NoTokenizer(InputError):
    """A model's tokenizer is not available as files on this machine yet."""


def tokenizer_folder(source: str, revision: str | None = None) -> Path:
    """The folder with a model's tokenizer.json. Raises NotFoundError or InputError if there is none yet."""
    model = find_source(source, revision)
    folder = model.path
    if model.kind == "gguf" and folder is not None:
        fingerprint = dequantised.fingerprint(folder)
        folder = dequantised.entry_folder(fingerprint)
        if not (folder / "tokenizer.json").is_file():
            folder = dequantised.tokenizer_entry(fingerprint)
    if folder is not None and (folder / "tokenizer.json").exists():
        guarded.open_regular(folder / "tokenizer.json").close()  # no pipe or folder, which is told at once
    if folder is None or not (folder / "tokenizer.json").is_file():
        why = (
            "the GGUF file's tokenizer is extracted when it is first used"
            if model.kind == "gguf"
            else "its tokenizer.json is not on this machine"
        )
        raise NoTokenizer(
            "Tokens cannot be counted yet",
            f"{model.name}: {why}.",
            "Show one row's tokens, which extracts it: tuner-tui data show FILE 1 --model MODEL"
            if model.kind == "gguf"
            else "Start a run with it once, or download the model.",
        )
    return folder

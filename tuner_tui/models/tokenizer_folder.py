"""Where a model's tokenizer files are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.models import dequantised
from tuner_tui.models.source import find_source

if TYPE_CHECKING:
    from pathlib import Path


def tokenizer_folder(source: str, revision: str | None = None) -> Path:
    """The folder with a model's tokenizer.json. Raises NotFoundError or InputError where there is none yet."""
    found = find_source(source, revision)
    folder = found.path
    if found.kind == "gguf" and folder is not None:
        folder = dequantised.entry_folder(dequantised.fingerprint(folder))
    if folder is None or not (folder / "tokenizer.json").is_file():
        why = (
            "the GGUF file's tokenizer is written out when the model is first used"
            if found.kind == "gguf"
            else "its tokenizer.json is not on this machine"
        )
        raise InputError(
            "Tokens cannot be counted yet",
            f"{found.name}: {why}.",
            "Start a run with it once, or fetch the model.",
        )
    return folder

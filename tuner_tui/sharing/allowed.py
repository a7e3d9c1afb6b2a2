"""The allow-list of an export's files for the Hub; no other file is uploaded."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.sharing.checksums import SUMS
from tuner_tui.sharing.verification import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tuner_tui.runs.export_events import Form

CARD = "README.md"
NAMED_TEMPLATES = "additional_chat_templates"
"""Where a fully tuned model's tokenizer keeps templates beside the default one; exports hold them in its settings."""
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
ALLOWED: dict[Form, tuple[str, ...]] = {
    "adapter": (CARD, "adapter_config.json", "adapter_model.safetensors", *TOKENIZER),
    "merged": (
        CARD,
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model-*-of-*.safetensors",
        "model.safetensors.index.json",
        *TOKENIZER,
    ),
    "gguf-adapter": (CARD, "adapter.gguf", "chat_template.jinja"),
    "gguf": (CARD, "model.gguf"),
    "ollama": (CARD, "model.gguf", "Modelfile"),
}
PUSHED_FORMS: tuple[Form, ...] = ("adapter", "merged", "gguf-adapter", "gguf", "ollama")
KEPT_AT_HOME = (SUMS, RECORD)
RESULT = ("adapter_config.json", "adapter_model.safetensors", "config.json", "generation_config.json", CARD)
"""Files of a run's adapter folder, besides tokenizer files and shards of a full model."""


def chosen_files(folder: Path, form: Form) -> list[Path]:
    """The files to upload. Raises InputError for one that is neither allowed nor known to stay local."""
    chosen = []
    for path in sorted(file for file in folder.rglob("*") if not file.is_dir()):
        name = path.relative_to(folder).as_posix()
        if name in KEPT_AT_HOME:
            continue
        if path.is_symlink() or not is_allowed(name, ALLOWED[form]):
            raise _foreign(path)
        chosen.append(path)
    return chosen


def require_clean_result(folder: Path) -> None:
    """Raise InputError for a file in a run's result that training did not write, such as a pickle."""
    names = (*RESULT, *TOKENIZER, *ALLOWED["merged"])
    for path in sorted(each for each in folder.rglob("*") if not each.is_dir()):
        is_template = path.parent == folder / NAMED_TEMPLATES and path.suffix == ".jinja"
        if path.is_symlink() or not (is_template or is_allowed(path.relative_to(folder).as_posix(), names)):
            raise _foreign(path)


def is_allowed(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file's name (no folders) is on a list."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)


def _foreign(path: Path) -> InputError:
    is_pickle = path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
    what = "It is a Python pickle, which can run code when it is loaded. " if is_pickle else ""
    return InputError(
        "Unexpected file in the export",
        f"{path}\n{what}It is not part of this form, so nothing was sent.",
        "Move it away and push again.",
    )

"""The cache of dequantised GGUF models, stored by the hash of their file.

The worker writes one to a folder `.partial-FINGERPRINT-...` beside the others, with an `origin.json`
({"source": path, "name": file name, "made_at": Unix time, "reading": READING}), and renames it into place when it is
complete.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.files import folder_size
from tuner_tui.models.model_folder import read_json
from tuner_tui.owned import Layout, Owned

PARTIAL_PREFIX = ".partial-"
ORIGIN_FILE = "origin.json"
READING = 2
"""Version of how files are read; entries of an earlier version, without rotary scaling, are recreated."""
STALE_SECONDS = 600.0
"""A partial folder that was written to more recently than this may still be in progress."""


@dataclass(frozen=True)
class DequantisedModel:
    """One entry of the cache."""

    fingerprint: str
    name: str
    """The GGUF file's name; empty when unknown."""
    size_bytes: int
    folder: Path
    made_at: float | None
    is_complete: bool
    is_being_made: bool = False


def fingerprint(gguf: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256. Raises Unreadable."""
    with guarded.open_regular(gguf) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def entry_folder(fingerprint: str) -> Path:
    """The folder for the dequantised model of a file."""
    if not re.fullmatch("[0-9a-f]{16}", fingerprint):
        raise InputError("Not a fingerprint", f"{fingerprint!r} is not 16 hexadecimal digits.")
    return paths.dequantised_dir() / fingerprint


def owned() -> Owned:
    """The folder of all of them, for deleting in it."""
    return Owned(paths.dequantised_dir(), "dequantised", layout=MODELS, may_be_older=paths.is_usual_cache())


def owned_tokenizers() -> Owned:
    """The folder of the tokenizers."""
    folder = paths.cache_dir() / "tokenizers"
    return Owned(folder, "tokenizers", layout=TOKENIZERS, may_be_older=paths.is_usual_cache())


def _holds_model_files(folder: Path) -> bool:
    return folder.is_dir() and all(
        path.is_dir() if path.name == "additional_chat_templates" else path.suffix in MODEL_SUFFIXES
        for path in folder.iterdir()
    )


def _was_dequantised(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names.isdisjoint((ORIGIN_FILE, "config.json")) or any(
        name.endswith(".safetensors") for name in names
    )


def _holds_tokenizer_files(folder: Path) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= TOKENIZER_FILES


def _was_written_out(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() and (folder / "tokenizer_config.json").is_file()


MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt")
TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "additional_chat_templates", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
}  # fmt: skip
MODELS = Layout(
    rf"[0-9a-f]{{16}}|{re.escape(PARTIAL_PREFIX)}[0-9a-f]{{16}}(-.*)?", _holds_model_files, _was_dequantised
)
TOKENIZERS = Layout("[0-9a-f]{16}|tmp[a-z0-9_]{8}", _holds_tokenizer_files, _was_written_out)


def tokenizer_entry(fingerprint: str) -> Path:
    """The folder for the tokenizer of a file that is not dequantised yet."""
    return owned_tokenizers().folder / entry_folder(fingerprint).name


def is_complete(folder: Path) -> bool:
    """Whether an entry is complete, and of the current version."""
    if not (folder / "config.json").is_file():
        return False
    try:
        return read_json(folder / ORIGIN_FILE).get("reading") == READING
    except InputError:
        return False


def list_entries() -> list[DequantisedModel]:
    """All entries, newest first, including unfinished ones."""
    root = paths.dequantised_dir()
    try:
        next(root.iterdir(), None)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise TunerError("Cannot read the cache", f"{root}: {error.strerror}.") from error
    entries = [_entry(folder) for folder in owned().entries()]  # and not what others put there
    return sorted(entries, key=lambda entry: (-(entry.made_at or 0), entry.fingerprint))


def remove_entry(fingerprint: str | None) -> int:
    """Remove one model, or with None everything that is not in progress; returns the bytes freed."""
    if fingerprint is None:
        return sum(_remove(entry) for entry in list_entries() if not entry.is_being_made)
    folder = entry_folder(fingerprint)
    if not folder.is_dir():
        raise NotFoundError("No such dequantised model", f"{fingerprint} is not in the cache.")
    return _remove(_entry(folder))


def _entry(folder: Path) -> DequantisedModel:
    partial = folder.name.startswith(PARTIAL_PREFIX)
    try:
        origin = read_json(folder / ORIGIN_FILE)
    except InputError:
        origin = {}
    made_at = origin.get("made_at")
    return DequantisedModel(
        fingerprint=folder.name.removeprefix(PARTIAL_PREFIX),
        name=str(origin.get("name") or ""),
        size_bytes=folder_size(folder),
        folder=folder,
        made_at=float(made_at) if isinstance(made_at, int | float) else None,
        is_complete=not partial and is_complete(folder),
        is_being_made=partial and time.time() - _last_write(folder) < STALE_SECONDS,
    )


def _last_write(folder: Path) -> float:
    """When anything in a folder was last written; files deleted in the meantime are skipped."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        try:
            latest = max(latest, path.stat().st_mtime)
        except OSError:
            continue
    return latest


def _remove(entry: DequantisedModel) -> int:
    """Delete a folder after renaming it, so that a partly deleted one never looks complete."""
    try:
        folder = entry.folder
        if not folder.name.startswith(PARTIAL_PREFIX):
            hidden = folder.with_name(f"{PARTIAL_PREFIX}{folder.name}-removed-{time.time_ns()}")
            owned().move(folder, hidden)
            folder = hidden
        owned().remove(folder)
    except OSError as error:
        raise TunerError(
            "Cannot remove the model", f"{error.filename or entry.folder}: {error.strerror}."
        ) from error
    return entry.size_bytes

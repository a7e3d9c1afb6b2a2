"""Resolves `model.source`: a folder, a GGUF file or a repository on the Hub."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner_tui import guarded
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.guarded import Unreadable
from tuner_tui.models.demo import DEMO_REPO, demo_gguf
from tuner_tui.models.gguf_header import GGUF_MAGIC

_HUB_ID = re.compile(r"(?=.{1,96}$)\w(?:[\w.-]*\w)?(?:/\w(?:[\w.-]*\w)?)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)


@dataclass(frozen=True)
class ModelSource:
    """Where a base model comes from."""

    kind: Literal["folder", "gguf", "hub"]
    name: str
    """Display name: the Hub ID, or the name of the folder or file."""
    path: Path | None = None
    """The folder or file; for the Hub, the snapshot in its cache if that is complete."""
    repo_id: str | None = None
    revision: str | None = None
    size_bytes: int | None = None
    """Bytes on this machine; None if there are none yet."""


def find_source(source: str, revision: str | None = None) -> ModelSource:
    """Resolve a run's model.source; without a download or a request to the Hub."""
    if source == "demo":
        gguf = demo_gguf() if revision is None else None
        return _local_source(gguf, source) if gguf else _hub_source(DEMO_REPO, revision)
    path = _as_path(source)
    if path is not None:
        if revision is not None:
            raise InputError(
                "A revision needs a Hub repository",
                f"{source} is on this machine, so revision {revision!r} has no meaning.",
                "Remove model.revision.",
            )
        return _local_source(path, source)
    if not is_hub_id(source):
        raise NotFoundError(
            "No such model",
            f"{source!r} is neither a folder on this machine nor a Hub name.",
            _near_hint(source),
        )
    return _hub_source(source, revision)


def is_hub_id(text: str) -> bool:
    """Whether a text could be a repository's name ("owner/name", or "name" for a few old ones)."""
    return bool(_HUB_ID.fullmatch(text)) and not re.search(r"--|\.\.|\.git$", text)


def is_revision(text: str) -> bool:
    """Whether a text could be a branch, tag or commit."""
    return bool(_REVISION.fullmatch(text)) and ".." not in text


def nearest_folder(source: str) -> str | None:
    """A folder or GGUF file with a name similar to a path that does not exist."""
    path = _expand(source)
    if not path.name:
        return None
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix == ".gguf"]
    except (OSError, ValueError):  # ValueError: a NUL character
        return None
    matches = difflib.get_close_matches(path.name, names, n=1)
    return str(path.parent / matches[0]) if matches else None


def _near_hint(source: str) -> str:
    nearest = nearest_folder(source)
    if nearest:
        return f"Did you mean {nearest}?"
    on_hub = re.match(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)", source)
    if on_hub:
        return f"Give only its name: {on_hub[1]}"
    return 'Give a folder, a GGUF file, or a Hub name such as "HuggingFaceTB/SmolLM2-135M-Instruct".'


def _expand(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # "~name" of an unknown user
        return Path(source)


def _as_path(source: str) -> Path | None:
    """The path that a text refers to, or None if it can only be a Hub name."""
    path = _expand(source)
    looks_local = source.startswith(("/", "./", "../", "~")) or source in (".", "..")
    try:
        exists = "\0" not in source and bool(source.strip()) and path.exists()
    except OSError as error:
        raise InputError("Cannot read the model", f"{source}: {error.strerror}") from error
    return path if exists or looks_local or source.lower().endswith(".gguf") else None


def _local_source(path: Path, given: str) -> ModelSource:
    path = path.absolute()
    try:
        if path.is_dir():
            return ModelSource("folder", path.resolve().name, path, size_bytes=_files_size(path))
        if path.is_file():
            with guarded.open_regular(path) as file:
                start = file.read(len(GGUF_MAGIC))
            if path.suffix.lower() == ".gguf" or start == GGUF_MAGIC:
                return ModelSource("gguf", path.name, path, size_bytes=path.stat().st_size)
            raise InputError(
                "Not a model",
                f"{given} is a file, but not a GGUF file.",
                f"Give the folder instead: {path.parent}"
                if path.suffix == ".safetensors"
                else _near_hint(given),
            )
    except Unreadable as error:
        raise InputError("Cannot read the model", f"{given}: {error.problem}.", error.hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError("Cannot read the model", f"{given}: {reason}") from error
    what = "file" if path.suffix.lower() == ".gguf" else "folder"
    raise NotFoundError(f"No such {what}", f"{given} does not exist.", _near_hint(given))


def _files_size(folder: Path) -> int:
    """Bytes of the files directly in a folder (following a snapshot's symlinks)."""
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())


def _hub_source(repo_id: str, revision: str | None) -> ModelSource:
    if revision is not None and not is_revision(revision):
        raise InputError("Not a revision", f"{revision!r} cannot be a branch, tag or commit.")
    from tuner_tui.models.hub_cache import cached_snapshot

    snapshot = cached_snapshot(repo_id, revision)
    size = _files_size(snapshot) if snapshot else None
    return ModelSource("hub", repo_id, snapshot, repo_id, revision, size)

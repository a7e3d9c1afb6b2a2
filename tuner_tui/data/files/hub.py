"""Data sets of the Hugging Face Hub that are on this machine already."""

from __future__ import annotations

import os
from pathlib import Path

from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.files import expanded
from tuner_tui.text import shell_command


def missing_repository(name: str) -> str | None:
    """The repository that a data set's name stands for, when it is not on this machine. Raises InputError."""
    repository, inner = _parts(name)
    is_here = _snapshot(repository) is not None or _prepared(repository, inner) is not None
    return None if is_here else repository


def cached_folder(name: str) -> Path:
    """The folder of a cached data set: "owner/name", or "owner/name/folder" for one of its configurations.

    Looks at the Hub's own cache, then at that of the `datasets` library. Raises NotFoundError with the command that
    fetches it, or InputError for what is no such name.
    """
    repository, inner = _parts(name)
    folder = _snapshot(repository) or _prepared(repository, inner)
    if folder is None:
        raise NotFoundError(
            "The data set is not on this machine",
            f"{repository} is neither in the Hub's cache nor in that of the datasets library.",
            f"Fetch it once: {shell_command('models download --data', repository)}",
        )
    chosen = folder / inner
    if inner and not chosen.exists():
        folder_names = sorted(each.name for each in folder.iterdir() if each.is_dir() and each.name[0] != ".")
        if not any(part.startswith(inner) for part in folder_names):
            return folder
        raise NotFoundError(
            "The data set has no such part", f"{name}: it has {', '.join(folder_names) or 'none'}."
        )
    return chosen


def _parts(name: str) -> tuple[str, str]:
    """The repository, and what is named within it."""
    parts = [part for part in name.split("/") if part]
    if len(parts) < 2 or ".." in parts:
        raise InputError(
            "Not a Hub data set", f"{name!r}: expected owner/name.", "For example hub:openai/gsm8k."
        )
    return "/".join(parts[:2]), "/".join(parts[2:])


def _snapshot(repository: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise InputError("Not a Hub data set", f"{repository!r}: {str(error).splitlines()[0]}") from error


def _prepared(repository: str, configuration: str) -> Path | None:
    """The newest Arrow folder that `datasets` made of a repository: owner___name/configuration/version/hash."""
    home = Path(os.environ.get("HF_HOME") or expanded(Path("~/.cache/huggingface")))
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    root = cache / repository.replace("/", "___").lower()
    roots = [root / configuration] if configuration else [root]
    folders = [file.parent for each in roots for file in each.rglob("*.arrow")]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)

"""What the Hub's own cache already holds on this machine."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner_tui.errors import InputError
from tuner_tui.files import entries
from tuner_tui.models.model_folder import has_tokenizer, read_json, weight_files

LARGEST_CACHE = 10_000
"""Entries of the cache that are looked at."""
RepoKind = Literal["model", "dataset"]
KINDS: dict[str, RepoKind] = {"models": "model", "datasets": "dataset"}
ARRIVING = (".tuner-tui-partial", ".incomplete")
"""How the names end of files that are not wholly here yet: ours, and those of the Hub's client."""


@dataclass(frozen=True)
class CachedRepo:
    """A repository in the Hub's cache."""

    repo_id: str
    size_bytes: int
    """On the disk, with what has arrived of unfinished files."""
    last_used: float
    """Unix time at which a file of it was last read."""
    kind: RepoKind = "model"
    is_unfinished: bool = False
    """Whether a download of it was interrupted; begun again, it goes on there."""


def cached_repos() -> list[CachedRepo]:
    """Models and data sets in the cache, last used first; empty when there is no cache."""
    found = []
    for folder in entries(cache_root(), LARGEST_CACHE):
        kind, *parts = folder.name.split("--")
        if kind in KINDS and parts and (repo := cached_repo("/".join(parts), KINDS[kind])):
            found.append(repo)
    return sorted(found, key=lambda repo: (-repo.last_used, repo.repo_id))


def cached_models() -> list[CachedRepo]:
    """Model repositories in the cache, last used first."""
    return [repo for repo in cached_repos() if repo.kind == "model"]


def cache_root() -> Path:
    """The cache's folder; it need not be there."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_folder(repo_id: str, kind: RepoKind) -> Path:
    """Where the cache keeps a repository; it need not be there."""
    from huggingface_hub.file_download import repo_folder_name

    return cache_root() / repo_folder_name(repo_id=repo_id, repo_type=kind)


def cached_repo(repo_id: str, kind: RepoKind) -> CachedRepo | None:
    """A repository as the cache has it; None when nothing of it is there."""
    try:
        folder = cached_folder(repo_id, kind)
    except ValueError:  # the Hub's client: no name that a repository can have
        return None
    total, last_used, is_arriving, has_files = 0, 0.0, False, False
    for path in (*folder.glob("blobs/*"), *folder.glob("snapshots/**/*")):
        try:
            about = path.lstat()
        except OSError:  # it goes while we look
            continue
        if stat.S_ISREG(about.st_mode):
            has_files = True
            total += about.st_size
            last_used = max(last_used, about.st_atime)
            is_arriving = is_arriving or path.name.endswith(ARRIVING)
    if not has_files:
        return None
    return CachedRepo(repo_id, total, last_used, kind, is_arriving or not _is_named(folder, kind))


def _is_named(folder: Path, kind: RepoKind) -> bool:
    """Whether a revision has come to its end: it is named then; a model may also be whole without a name."""
    if any(path.is_file() for path in folder.glob("refs/**/*")):
        return True
    return kind == "model" and any(map(is_complete, folder.glob("snapshots/*")))


def cached_snapshot(repo_id: str, revision: str | None = None) -> Path | None:
    """The cached folder of a repository, when it is complete enough to load without the Hub; no other name has one."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    except HFValidationError:  # such as the path of a base that is no longer there
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if is_complete(folder) else None


def is_complete(folder: Path) -> bool:
    """Whether config, all weights and a tokenizer are there (their content is another question)."""
    try:
        read_json(folder / "config.json")
        weight_files(folder)
        return has_tokenizer(entry.name for entry in folder.iterdir() if entry.is_file())
    except (InputError, OSError):
        return False

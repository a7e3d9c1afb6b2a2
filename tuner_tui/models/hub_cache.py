"""The Hub's cache on this machine."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner_tui.errors import InputError
from tuner_tui.files import entries
from tuner_tui.models.model_folder import has_tokenizer, read_json, weight_files

LARGEST_CACHE = 10_000
"""Largest number of cache entries that are read."""
RepoKind = Literal["model", "dataset"]
KINDS: dict[str, RepoKind] = {"models": "model", "datasets": "dataset"}
ARRIVING = (".tuner-tui-partial", ".incomplete")
"""Suffixes of incomplete files: ours, and those of the Hub's client."""


@dataclass(frozen=True)
class CachedRepo:
    """A repository in the Hub's cache."""

    repo_id: str
    size_bytes: int
    """Bytes on disk, including incomplete files."""
    last_used: float
    """Unix time at which one of its files was last read."""
    kind: RepoKind = "model"
    is_unfinished: bool = False
    """Whether a download of it was interrupted; it resumes when started again."""


def cached_repos() -> list[CachedRepo]:
    """Models and datasets in the cache, last used first; empty when there is no cache."""
    repos = []
    for folder in entries(cache_root(), LARGEST_CACHE):
        kind, *parts = folder.name.split("--")
        if kind in KINDS and parts and (repo := cached_repo("/".join(parts), KINDS[kind])):
            repos.append(repo)
    return sorted(repos, key=lambda repo: (-repo.last_used, repo.repo_id))


def cached_models() -> list[CachedRepo]:
    """Model repositories in the cache, last used first."""
    return [repo for repo in cached_repos() if repo.kind == "model"]


def cache_root() -> Path:
    """The cache's folder, which may not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_folder(repo_id: str, kind: RepoKind) -> Path:
    """The cache's folder of a repository, which may not exist."""
    from huggingface_hub.file_download import repo_folder_name

    return cache_root() / repo_folder_name(repo_id=repo_id, repo_type=kind)


def cached_repo(repo_id: str, kind: RepoKind) -> CachedRepo | None:
    """A repository in the cache; None if it is not there."""
    try:
        folder = cached_folder(repo_id, kind)
    except ValueError:  # the Hub's client: not a valid repository name
        return None
    total, last_used, is_arriving, has_files = 0, 0.0, False, False
    for path in (*folder.glob("blobs/*"), *folder.glob("snapshots/**/*")):
        try:
            about = path.lstat()
        except OSError:  # deleted in the meantime
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
    """Whether a revision has been downloaded completely: then it has a name. A model may be complete without one."""
    if any(path.is_file() for path in folder.glob("refs/**/*")):
        return True
    return kind == "model" and any(map(is_complete, folder.glob("snapshots/*")))


def cached_snapshot(repo_id: str, revision: str | None = None) -> Path | None:
    """The cached folder of a repository if it is complete enough to load without the Hub, else None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    except HFValidationError:  # such as the path of a base that no longer exists
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if is_complete(folder) else None


def is_complete(folder: Path) -> bool:
    """Whether config, all weights and a tokenizer exist; their content is not checked."""
    try:
        read_json(folder / "config.json")
        weight_files(folder)
        return has_tokenizer(entry.name for entry in folder.iterdir() if entry.is_file())
    except (InputError, OSError):
        return False

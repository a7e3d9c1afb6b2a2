"""What the Hub's own cache already holds on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner_tui.errors import InputError
from tuner_tui.models.model_folder import has_tokenizer, read_json, weight_files


@dataclass(frozen=True)
class CachedModel:
    """A model repository in the Hub's cache."""

    repo_id: str
    size_bytes: int
    last_used: float
    """Unix time at which a file of it was last read."""


def cached_models() -> list[CachedModel]:
    """Model repositories in the cache, last used first; empty when there is no cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        scan = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):  # ValueError: the cache's path is a file
        return []
    models = [
        CachedModel(repo.repo_id, repo.size_on_disk, repo.last_accessed)
        for repo in scan.repos
        if repo.repo_type == "model"
    ]
    return sorted(models, key=lambda model: (-model.last_used, model.repo_id))


def cached_snapshot(repo_id: str, revision: str | None = None) -> Path | None:
    """The cached folder of a repository, when it is complete enough to load without the Hub."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo_id, "config.json", revision=revision)
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

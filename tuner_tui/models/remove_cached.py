"""Removing what the Hub's cache holds of a repository."""

from __future__ import annotations

from typing import Literal

from tuner_tui.errors import NotFoundError, TunerError


def remove_cached(repo_id: str, kind: Literal["model", "dataset"] = "model") -> int:
    """Remove all revisions of a repository from the cache; gives the bytes freed. Raises NotFoundError."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        scan = scan_cache_dir()
    except (CacheNotFound, ValueError):
        scan = None
    repos = [repo for repo in scan.repos if (repo.repo_id, repo.repo_type) == (repo_id, kind)] if scan else []
    if scan is None or not repos:
        raise NotFoundError(
            f"No such {kind} in the cache", f"{repo_id} is not there.", "See: tuner-tui models list"
        )
    plan = scan.delete_revisions(*(revision.commit_hash for revision in repos[0].revisions))
    try:
        plan.execute()
    except OSError as error:
        raise TunerError("Cannot remove it", f"{error.filename}: {error.strerror}.") from error
    return repos[0].size_on_disk

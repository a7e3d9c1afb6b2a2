"""Removing a repository from the Hub's cache."""

from __future__ import annotations

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.models.hub_cache import RepoKind, cached_folder, cached_repo
from tuner_tui.models.source import is_hub_id
from tuner_tui.owned import remove_hub_repository


def remove_cached(repo_id: str, kind: RepoKind = "model") -> int:
    """Remove a repository from the cache, including unfinished files; returns the bytes freed.

    Raises InputError for an invalid name, NotFoundError when it is not there, TunerError when it cannot be removed.
    """
    if not is_hub_id(repo_id):
        raise InputError(
            "Not a name on the Hub", f"{repo_id!r} cannot be a repository.", "See: tuner-tui models list"
        )
    folder = cached_folder(repo_id, kind)
    known = cached_repo(repo_id, kind)
    if known is None:
        raise NotFoundError(
            f"No such {kind} in the cache", f"{repo_id} is not there.", "See: tuner-tui models list"
        )
    try:
        remove_hub_repository(folder, folder.parent)
    except OSError as error:
        raise TunerError(
            "Cannot remove it", f"{error.filename or folder}: {error.strerror or error}."
        ) from error
    return known.size_bytes

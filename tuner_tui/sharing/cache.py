"""Cleans the Hub's cache, except what a live run needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.errors import RunProblem
from tuner_tui.guarded import Unreadable
from tuner_tui.models.remove_cached import remove_cached
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.folder import list_runs
from tuner_tui.runs.queue import queued_names
from tuner_tui.runs.status import LIVE
from tuner_tui.runs.summary import SummaryReader
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.models.hub_cache import RepoKind
    from tuner_tui.runs.folder import RunFolder


def remove_unused(repo_id: str, kind: RepoKind) -> int:
    """Remove a repository from the cache; returns the bytes freed.

    Raises RunProblem while a waiting or live run needs it, NotFoundError, and TunerError.
    """
    user = live_user(repo_id, kind)
    if user is not None:
        raise RunProblem(
            "A run needs it",
            f"{user.name} uses {repo_id}, now or when it starts.",
            f"Wait for it, or stop it: {shell_command('runs stop', user.name)}",
        )
    return remove_cached(repo_id, kind)


def live_user(repo_id: str, kind: RepoKind) -> RunFolder | None:
    """A waiting or live run that was planned with a repository."""
    reader, queued = SummaryReader(), queued_names()
    return next(
        (
            folder
            for folder in list_runs()
            if _uses(folder, repo_id, kind) and reader.read(folder, queued).status in LIVE
        ),
        None,
    )


def _uses(folder: RunFolder, repo_id: str, kind: RepoKind) -> bool:
    try:
        if kind == "dataset":
            return f"hub:{repo_id}" in guarded.read_text(folder.spec)
        return read_plan(folder.plan).model_name == repo_id
    except Unreadable:
        return False

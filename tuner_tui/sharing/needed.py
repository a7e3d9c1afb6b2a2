"""Downloads what a run needs from the Hub before it starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tuner_tui.data.files.hub import missing_repository
from tuner_tui.data.files.rows import HUB_PREFIX
from tuner_tui.keeper.launch import check_parts
from tuner_tui.models.source import find_source
from tuner_tui.sharing.hub import download
from tuner_tui.sharing.hub_protocol import DownloadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.sharing.hub_protocol import Event

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TRUE = ("1", "on", "yes", "true")


def fetch_needed(
    spec: RunSpec, tell: Callable[[Event], None], is_cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Download the data sets and the model that a spec names and this machine lacks; nothing in offline mode.

    The model, being large, is downloaded after the rest of the spec was checked. Raises as `launch` and `download` do.
    """
    if any(os.environ.get(name, "").lower() in TRUE for name in OFFLINE):
        return
    for repo_id in missing_data(spec):
        download(DownloadRequest(repo_id=repo_id, kind="dataset"), tell, is_cancelled)
    source = find_source(spec.model.source, spec.model.revision)
    if source.kind == "hub" and source.path is None and source.repo_id is not None:
        check_parts(spec)
        download(DownloadRequest(repo_id=source.repo_id, revision=source.revision), tell, is_cancelled)


def missing_data(spec: RunSpec) -> list[str]:
    """The Hub's data sets among a spec's data that are not on this machine."""
    names = (spec.data.train, spec.data.evaluation)
    wanted = [name.removeprefix(HUB_PREFIX) for name in names if name and name.startswith(HUB_PREFIX)]
    return [repository for repository in map(missing_repository, wanted) if repository]

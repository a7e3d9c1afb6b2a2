"""Starting a run, the same for every caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.feedback.as_data import with_collections
from tuner_tui.keeper.launch import launch
from tuner_tui.sharing.needed import fetch_needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.hub_protocol import Event


def start_run(
    spec: RunSpec,
    tell: Callable[[Event], None] = lambda event: None,
    after: RunFolder | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> RunFolder:
    """Prepare a run and queue it: collections become files, and missing downloads are made.

    `tell` gets the downloads' events, which `is_cancelled` ends; `after` is a run that must finish first. Raises as
    `fetch_needed` and `launch` do; no run is left behind then.
    """
    complete = with_collections(spec)
    fetch_needed(complete, tell, is_cancelled)
    return launch(complete, after)

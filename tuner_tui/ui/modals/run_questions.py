"""What is asked before a run is stopped or deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner_tui.text import size
from tuner_tui.ui.modals.confirm import ConfirmModal

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


def asks_to_stop(folder: RunFolder) -> ConfirmModal:
    """Stopping keeps what was learnt."""
    detail = (
        f"{folder.name}\n\nIt makes the step it is at, saves a checkpoint and ends. You can resume it later. "
        "A run that waits is taken out of the queue."
    )
    return ConfirmModal("Stop this run?", detail, yes="Stop it", no="Go on")


async def asks_to_delete(folder: RunFolder) -> ConfirmModal:
    """Deleting says how much goes."""
    from tuner_tui.files import folder_size

    held = size(await asyncio.to_thread(folder_size, folder.path))
    detail = (
        f"{folder.path}\n\n{held}: checkpoints, adapter, events and log. It can be brought back on the Runs screen "
        "until the app closes; the room is free from then on."
    )
    return ConfirmModal("Delete this run?", detail, yes="Delete it", no="Keep it")

"""What is asked before a run is taken out of the queue or deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner_tui.text import size
from tuner_tui.ui.modals.confirm import ConfirmModal

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


def asks_to_remove(folder: RunFolder) -> ConfirmModal:
    """A run that waits loses its place only."""
    detail = f"{folder.name}\n\nIts folder stays; resume queues it again, at the end of the line."
    return ConfirmModal("Take this run out of the queue?", detail, yes="Take it out", no="Let it wait")


async def asks_to_delete(folder: RunFolder) -> ConfirmModal:
    """Deleting says how much goes."""
    from tuner_tui.files import folder_size

    held = size(await asyncio.to_thread(folder_size, folder.path))
    detail = (
        f"{folder.path}\n\n{held}: checkpoints, adapter, events and log. It can be brought back on the Runs screen "
        "until the app closes; the room is free from then on."
    )
    return ConfirmModal("Delete this run?", detail, yes="Delete it", no="Keep it")

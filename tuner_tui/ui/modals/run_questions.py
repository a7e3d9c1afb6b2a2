"""Questions before a run is removed from the queue or deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner_tui.text import size
from tuner_tui.ui.modals.confirm import ConfirmModal

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


def asks_to_remove(folder: RunFolder) -> ConfirmModal:
    """A waiting run only loses its place."""
    detail = f"{folder.name}\n\nIts folder stays; resume queues it again, at the end."
    return ConfirmModal("Remove this run from the queue?", detail, yes="Remove", no="Cancel")


async def asks_to_delete(folder: RunFolder) -> ConfirmModal:
    """Deleting shows how much is freed."""
    from tuner_tui.files import folder_size

    freed = size(await asyncio.to_thread(folder_size, folder.path))
    detail = (
        f"{folder.path}\n\n{freed}: checkpoints, adapter, events and log. It can be restored on the Runs screen "
        "until the app closes; its disk space is freed then."
    )
    return ConfirmModal("Delete this run?", detail, yes="Delete", no="Cancel")

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
    """Deleting shows how much is freed, and until when it can be undone."""
    from tuner_tui.files import folder_size
    from tuner_tui.runs.trash import KEPT_DAYS

    freed = size(await asyncio.to_thread(folder_size, folder.path))
    detail = (
        f"{folder.path}\n\n{freed}: checkpoints, adapter, events and log. It stays in the trash for {KEPT_DAYS} "
        "days, also when the app closes: u on the Runs screen restores it. Its disk space is freed after that, or with "
        "E there."
    )
    return ConfirmModal("Delete this run?", detail, yes="Delete", no="Cancel")

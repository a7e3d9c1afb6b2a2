"""Moving things to the trash, restoring them, and emptying it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work

from tuner_tui.text import size
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.widgets.run_parts import DiskPart, trash_size

if TYPE_CHECKING:
    from tuner_tui.runs.disk import CleanUpItem
    from tuner_tui.runs.trash import Deletion

MOST_NAMES = 10
"""How many names a question lists."""


class TrashKeys(TunerScreen):
    """A screen with the list of what can be removed."""

    in_trash: tuple[Deletion, ...] = ()
    """What can be restored, the last deleted first."""

    @on(DiskPart.Taken)
    def take_item(self, event: DiskPart.Taken) -> None:
        self._throw(event.item)

    @work
    async def _throw(self, item: CleanUpItem) -> None:
        """Ask, then move it to the trash, or delete it where it cannot be restored."""
        from tuner_tui.ui.modals.confirm import ConfirmModal
        from tuner_tui.ui.run_actions import throw_item

        if item.can_be_restored:
            freed = f"Frees {size(item.size_bytes)} when the trash is emptied; u restores it until then."
            question, yes = "Move it to the trash?", "Move"
        else:
            freed = f"Frees {size(item.size_bytes)} at once; it cannot be restored."
            question, yes = "Delete it permanently?", "Delete"
        detail = f"{item.name}\n\n{freed}\n{item.loses}"
        if await self.app.push_screen_wait(ConfirmModal(question, detail, yes, "Cancel")):
            self.perform(lambda: throw_item(item))

    def action_undo(self) -> None:
        from tuner_tui.ui.run_actions import undo

        self.perform(undo)

    @work
    async def action_empty(self) -> None:
        from tuner_tui.ui.modals.confirm import ConfirmModal
        from tuner_tui.ui.run_actions import empty_trash

        names = [deletion.name for deletion in self.in_trash]
        more = f"\nand {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        detail = f"Deletes permanently, {trash_size(self.in_trash)}:\n" + "\n".join(names[:MOST_NAMES]) + more
        if await self.app.push_screen_wait(ConfirmModal("Empty the trash?", detail, "Empty it", "Keep it")):
            self.perform(empty_trash)

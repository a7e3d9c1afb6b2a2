"""What the keys of a list of runs do with the run under its cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work
from textual.reactive import var

from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.widgets.run_list import RunList

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary


class RunKeys(TunerScreen):
    """A screen with a list of runs, one of which is chosen."""

    summaries: var[Mapping[str, RunSummary]] = var({}, always_update=True)

    @property
    def run_list(self) -> RunList:
        return self.query_one(RunList)

    @property
    def chosen_run(self) -> RunFolder | None:
        """The run under the cursor."""
        return self.run_list.table.chosen if self.is_mounted else None

    @property
    def chosen_summary(self) -> RunSummary | None:
        """What is known of it."""
        chosen = self.chosen_run
        return self.summaries.get(chosen.name) if chosen is not None else None

    def allows(self, action: str) -> bool:
        """Whether the state of the chosen run allows an action."""
        summary = self.chosen_summary
        match action:
            case "resume":
                return summary is not None and summary.can_resume
            case "pause":
                return summary is not None and summary.status == "running"
            case "stop":
                return summary is not None and summary.is_live
            case "share" | "delete":
                return summary is not None and not summary.is_live
        return True

    def action_same_again(self) -> None:
        from tuner_tui.ui.run_actions import spec_of

        folder = self.chosen_run
        if folder is not None:
            self.open_same_again(lambda: spec_of(folder))

    def action_share(self) -> None:
        folder = self.chosen_run
        if folder is not None:
            self.tuner.open_share(folder)

    def action_resume(self) -> None:
        from tuner_tui.ui.run_actions import resume_run

        folder = self.chosen_run
        if folder is not None:
            self.perform(lambda: resume_run(folder))

    def action_pause(self) -> None:
        from tuner_tui.ui.run_actions import pause_run

        folder = self.chosen_run
        if folder is not None:
            self.perform(lambda: pause_run(folder))

    @work
    async def action_stop(self) -> None:
        from tuner_tui.ui.modals.stop_run import StopModal
        from tuner_tui.ui.run_actions import end_run_now, stop_run

        folder = self.chosen_run
        way = await self.app.push_screen_wait(StopModal(folder)) if folder is not None else None
        if folder is not None and way is not None:
            self.perform(lambda: (stop_run if way == "save" else end_run_now)(folder))

    @work
    async def action_delete(self) -> None:
        from tuner_tui.ui.modals.run_questions import asks_to_delete
        from tuner_tui.ui.run_actions import delete_run

        folder = self.chosen_run
        if folder is not None and await self.ask(await asks_to_delete(folder)):
            self.perform(lambda: delete_run(folder))

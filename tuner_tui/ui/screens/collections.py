"""Collections: start or continue annotating."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.reactive import var
from textual.widgets import OptionList, Static

from tuner_tui.errors import TunerError
from tuner_tui.feedback.collections import CollectionSummary, delete_collection, list_collections
from tuner_tui.text import counted, shell_command
from tuner_tui.ui.background import in_background
from tuner_tui.ui.collection_keys import EXPORT, TRAIN, export_from, train_on
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal_lines, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

EMPTY = "No collections yet. n creates one: a model answers your prompts, and you choose the better answer."


class CollectionList(PickList):
    """The collections."""

    BINDINGS = [Binding("enter", "select", "Open", tooltip="Annotate its answers")]  # noqa: RUF012


class Collections(TunerScreen):
    """All collections with their progress; Enter continues annotating."""

    TITLE_WORDS = "Feedback"
    HELP_TEXT = (
        "Annotations are stored in collections. R opens a new run on the marked one, with a method that fits what it "
        "holds (data.train = feedback:NAME), and O writes its annotations to a file."
    )
    CSS = "Collections #hint { padding: 1 2; height: 1fr; }"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc"),
        Binding("n", "new", "New", tooltip="Create a collection"),
        TRAIN,
        EXPORT,
        Binding("delete,D", "delete", "Delete", key_display="del", tooltip="Move a collection to the trash"),
    ]

    summaries: var[tuple[CollectionSummary, ...]] = var((), init=False, always_update=True)

    @property
    def headless_command(self) -> str:
        return "tuner-tui feedback list"

    @property
    def _picked(self) -> CollectionSummary | None:
        name = self.query_one(PickList).picked_key if self.summaries else None
        return next((summary for summary in self.summaries if summary.name == name), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys that are of use now."""
        return bool(self.summaries) if action in ("train", "export", "delete") else True

    def compose_body(self) -> ComposeResult:
        yield Static("Loading ...", id="hint")
        yield CollectionList(id="collections", help_text="Your collections. Enter opens one.")

    def on_screen_resume(self) -> None:
        self._look()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            self.summaries = tuple(await in_background(list_collections))
        except TunerError as error:
            self.summaries = ()
            words = "\n\n".join(part for part in (error.title, error.message, error.hint) if part)
            show(self.query_one("#hint", Static), literal_lines(words, "$error"))

    def watch_summaries(self, summaries: tuple[CollectionSummary, ...]) -> None:
        self.query_one("#hint", Static).update(EMPTY)
        self.query_one("#hint").display = not summaries
        rows = self.query_one(PickList)
        rows.display = bool(summaries)
        rows.show(tuple(PickRow(summary.name, summary.name, _cells(summary)) for summary in summaries))
        if summaries:
            rows.focus()
        self.query_one(TitleBar).state = counted(len(summaries), "collection")
        self.refresh_bindings()

    @on(OptionList.OptionSelected)
    def open(self, event: OptionList.OptionSelected) -> None:
        from tuner_tui.ui.screens.feedback import FeedbackScreen

        if event.option_id:
            self.app.push_screen(FeedbackScreen(event.option_id))

    @work
    async def action_new(self) -> None:
        from tuner_tui.ui.modals.new_collection import NewCollection
        from tuner_tui.ui.screens.feedback import FeedbackScreen

        name = await self.app.push_screen_wait(NewCollection())
        if name is not None:
            self.app.push_screen(FeedbackScreen(name))

    def action_train(self) -> None:
        if self._picked is not None:
            train_on(self, self._picked.name)

    @work
    async def action_export(self) -> None:
        if self._picked is not None:
            await export_from(self, self._picked.name)

    @work
    async def action_delete(self) -> None:
        from tuner_tui.ui.modals.confirm import ConfirmModal

        summary = self._picked
        if summary is None:
            return
        name = summary.name
        detail = (
            f"{name}: {summary.judged} annotations and their last good copy are moved to the trash of collections. "
            f"{shell_command('feedback restore', name)} restores them."
        )
        if await self.app.push_screen_wait(
            ConfirmModal("Delete this collection?", detail, yes="Delete", no="Cancel")
        ):
            try:
                await in_background(delete_collection, name)
            except TunerError as error:
                self.show_error(error)
            self._look()


def _cells(summary: CollectionSummary) -> tuple[str, ...]:
    if not summary.is_usable:
        return (summary.problem,)
    counts = (
        summary.mode,
        f"{summary.judged} annotated",
        f"{summary.left} ready",
        f"{summary.waiting} without answers",
    )
    return (*counts, summary.problem) if summary.problem else counts

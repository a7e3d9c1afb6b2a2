"""A collection while it is annotated: opening it, its progress, and the answers that are generated meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.containers import Container, VerticalScroll
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.errors import TunerError
from tuner_tui.feedback import collections
from tuner_tui.feedback.answering import Prefetcher
from tuner_tui.feedback.integrity import copy_path
from tuner_tui.feedback.session import Progress, Session, Shown, Stopwatch
from tuner_tui.feedback.store_errors import DamagedStore
from tuner_tui.generation.client import Generators, MachineBusy
from tuner_tui.text import shell_command
from tuner_tui.ui.background import in_background
from tuner_tui.ui.screens.base import ActionFailed, TunerScreen
from tuner_tui.ui.screens.feedback_answers import AnswersFailed, AnswersMade, waiting_words
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal, literal_lines, show

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.message import Message

    from tuner_tui.feedback.records import Mode
    from tuner_tui.feedback.store import Store

LOOK_SECONDS = 0.5
"""How often the figures of answers that are being generated are drawn."""
HOW: dict[Mode, str] = {
    "pairs": "Which is better? Its number; slightly better: its number + 4; t tie, b both bad, → skip",
    "ranking": "Best first: type the numbers in order; → skip, backspace starts again",
    "thumbs": "Is it good? 1 yes, 2 no; → skip",
    "scores": "1 poor to 5 excellent; → skip",
    "demonstrations": "How would you answer? w write, → skip",
}


class FeedbackSession(TunerScreen):
    """What is open, and what is shown of it; the keys that annotate are `FeedbackScreen`'s."""

    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc"),
        Binding("x", "stop", "Stop", tooltip="Stop generating answers; complete ones are kept"),
        Binding("r", "resume", "Resume", tooltip="Continue generating answers"),
    ]

    shown: var[Shown | None] = var(None, init=False)
    has_differences: var[bool] = var(False, init=False)
    is_generating: var[bool] = var(False, init=False)

    def __init__(
        self, name: str, generators: Generators | None = None, *, is_uncertain_first: bool = False
    ) -> None:
        super().__init__()
        self.name_of_collection = name
        self.TITLE_WORDS = f"Feedback: {name}"  # type: ignore[misc]
        self._is_uncertain_first = is_uncertain_first
        self._generators = generators or Generators()
        self._store: Store | None = None
        self._session: Session | None = None
        self._prefetcher: Prefetcher | None = None
        self._copies: collections.GoodCopies | None = None
        self._mode: Mode = "pairs"
        self._ranked: list[int] = []
        self._watch = Stopwatch()
        self._model_state = ""
        self._problem: TunerError | None = None
        self._progress = Progress(saved=0, ready=0, waiting=0)
        self._unreadable = 0
        self.times_ready = 0
        self.times_waited = 0
        """How often the next item was ready after an annotation, and how often not."""

    @property
    def headless_command(self) -> str:
        return shell_command("feedback stats", self.name_of_collection)

    @property
    def session(self) -> Session:
        """The session, once the collection is open."""
        if self._session is None:
            raise TunerError("The collection is not open", self.name_of_collection)
        return self._session

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="prompt", can_focus=False):
            yield Static("", id="prompt-text")
        yield Container(id="answers")
        yield Static("Opening ...", id="waiting")
        yield Static("", id="said")

    def on_mount(self) -> None:
        self.add_class("-waiting")
        self.set_interval(LOOK_SECONDS, self._look_at_answers)
        self._open()

    def on_unmount(self) -> None:
        if self._prefetcher is not None:
            with contextlib.suppress(TunerError):  # the collection was moved or is damaged, as was told
                self._prefetcher.close()
        self._generators.close()
        if self._copies is not None:
            self._copies.close()
        if self._store is not None:
            self._store.close()

    @work
    async def _open(self) -> None:
        """Open the collection; offer the last good copy of a damaged one."""
        from tuner_tui.ui.modals.confirm import ConfirmModal

        try:
            self._store = await in_background(collections.open_collection, self.name_of_collection)
        except DamagedStore as error:
            copy = copy_path(collections.collection_path(self.name_of_collection))
            detail = f"{error.message}\n\n{error.hint}\n\nRestore its last good copy now?"
            question = ConfirmModal(error.title, detail, yes="Restore", no="Cancel")
            if copy.is_file() and await self.ask(question):
                try:
                    collections.restore(self.name_of_collection)
                    self._store = collections.open_collection(self.name_of_collection)
                except TunerError as second:
                    self._say_closed(second)
            else:
                self._say_closed(error)
        except TunerError as error:
            self._say_closed(error)
        if self._store is not None:
            if not self.is_attached:  # it was closed meanwhile
                self._store.close()
                return
            try:
                await self._begin(self._store)
            except TunerError as error:
                self._say_closed(error)

    def _say_closed(self, error: TunerError) -> None:
        text = "\n\n".join(part for part in (error.title, error.message, error.hint) if part)
        show(self.query_one("#waiting", Static), literal_lines(text, "$error"))

    async def _begin(self, store: Store) -> None:
        self._mode = store.settings().mode
        self._session = Session(
            store, collections.annotator_name(), is_uncertain_first=self._is_uncertain_first
        )
        self._copies = collections.GoodCopies(store, on_problem=lambda error: self._post(ActionFailed(error)))
        self._copies.ask()
        self._generators.listen(self._hear_model)
        self._prefetcher = Prefetcher(
            self._session,
            self._generators,
            lambda: self._post(AnswersMade()),
            lambda error: self._post(AnswersFailed(error)),
        )
        show(self.query_one("#said", Static), literal(HOW[self._mode], "$faint"))
        await self._show_next()
        self._fill()
        self._look_for_unreadable(store)

    @work(group="unreadable")
    async def _look_for_unreadable(self, store: Store) -> None:
        """Rows that cannot be read are in no count; the person is told once that there are some."""
        from tuner_tui.feedback.checking import left_out_lines

        with contextlib.suppress(TunerError):  # the session tells what is wrong with the collection
            contents = await in_background(store.contents)
            self._unreadable = len(contents.problems)
            await self._tell_anew()
            if lines := left_out_lines(self.name_of_collection, contents.problems):
                self.notify("\n".join(lines), severity="warning", timeout=30, markup=False)

    def _post(self, message: Message) -> None:
        if self.is_attached:
            self.post_message(message)

    def _hear_model(self, words: str) -> None:
        self._model_state = words
        self._post(AnswersMade())

    # -- the next item ------------------------------------------------------------------------------------------

    async def _show_next(self) -> None:
        """Show the next item if one is ready; read from disk, in a thread."""
        try:
            shown, progress = await in_background(self.session.look)
        except TunerError as error:
            self.show_error(error)
            return
        if self.shown is None:  # an undo may have been quicker
            self.shown = shown
        self._tell(progress)

    async def _tell_anew(self) -> None:
        """Show the current counts, and the reason when no item is shown."""
        try:
            self._tell(await in_background(self.session.progress))
        except TunerError as error:
            self.show_error(error)

    def _tell(self, progress: Progress) -> None:
        self._progress = progress
        to_come = f", {progress.waiting} without answers" if progress.waiting else ""
        unreadable = f", {self._unreadable} unreadable" if self._unreadable else ""
        self.query_one(
            TitleBar
        ).state = f"saved {progress.saved}, {progress.ready} ready{to_come}{unreadable}"
        if self.shown is None:
            show(self.query_one("#waiting", Static), literal_lines(self._waiting_words(progress)))

    def _waiting_words(self, progress: Progress) -> str:
        if self._problem is not None:
            parts = (self._problem.title, self._problem.message, self._problem.hint)
            return "\n\n".join(part for part in parts if part)
        return waiting_words(self.name_of_collection, progress, self._answer_words())

    def _answer_words(self) -> str | None:
        """How far the models are; None where no model answers this collection's prompts."""
        prefetcher = self._prefetcher
        if prefetcher is None or not self.session.store.settings().candidates:
            return None
        figures = prefetcher.progress().words
        if prefetcher.is_stopped:
            return f"Stopped: {figures}. Complete answers are kept; r resumes."
        state = f"\n\n{self._model_state}" if self._model_state else ""
        return f"Generating answers: {figures}.\n\nx stops; complete answers are kept.{state}"

    def _look_at_answers(self) -> None:
        """Draw how far the answers are, while there is nothing else to see."""
        is_generating = self._prefetcher is not None and self._prefetcher.in_making > 0
        if is_generating != self.is_generating:
            self.is_generating = is_generating
        if is_generating and self.shown is None and self._problem is None:
            show(self.query_one("#waiting", Static), literal_lines(self._waiting_words(self._progress)))

    def watch_is_generating(self) -> None:
        self.refresh_bindings()

    async def action_stop(self) -> None:
        """Cancel what is being generated."""
        if self._prefetcher is not None:
            try:
                await in_background(self._prefetcher.stop)
            except TunerError as error:
                self.show_error(error)
            await self._tell_generation()

    async def action_resume(self) -> None:
        """Continue after a stop or a failure."""
        if self._prefetcher is not None:
            self._problem = None
            self._prefetcher.resume()
            self._fill()
            await self._tell_generation()

    async def _tell_generation(self) -> None:
        if self.shown is None:
            await self._show_next()
        self._look_at_answers()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys that are of use now."""
        if action == "stop":
            return self.is_generating
        if action == "resume":
            is_stopped = self._prefetcher is not None and self._prefetcher.is_stopped
            return is_stopped or (self._problem is not None and not self.is_generating)
        return True

    @work(group="fill")
    async def _fill(self) -> None:
        """Generate answers ahead; ask first while a run is training."""
        if self._prefetcher is None:
            return
        try:
            await in_background(self._prefetcher.fill)
        except MachineBusy as error:
            self._ask_to_share(error)
        except TunerError as error:
            self._post(AnswersFailed(error))

    @work(exclusive=True, group="share")
    async def _ask_to_share(self, error: MachineBusy) -> None:
        from tuner_tui.ui.modals.confirm import ConfirmModal

        question = ConfirmModal(
            error.title, f"{error.message}\n\nGenerate answers anyway?", yes="Go ahead", no="Wait"
        )
        if await self.ask(question):
            self._generators.agree_to_share()
            self._fill()
        else:
            self._problem = error
            await self._tell_anew()

    async def on_answers_made(self) -> None:
        if self._session is None:
            return
        if self.shown is None:
            await self._show_next()
        else:
            await self._tell_anew()

    def on_answers_failed(self, message: AnswersFailed) -> None:
        self._problem = message.error
        self.refresh_bindings()
        if self.shown is None:
            self._tell(self._progress)
        else:
            self.notify(f"{message.error.title}: {message.error.message}", severity="error", markup=False)

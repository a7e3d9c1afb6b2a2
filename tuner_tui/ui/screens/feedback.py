"""Feedback: answers side by side, blind; one key saves an annotation."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.containers import Container, VerticalScroll
from textual.message import Message
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.errors import TunerError
from tuner_tui.feedback import collections
from tuner_tui.feedback.answering import Prefetcher
from tuner_tui.feedback.integrity import copy_path
from tuner_tui.feedback.session import Progress, Session, Shown, Stopwatch
from tuner_tui.feedback.store_errors import DamagedStore
from tuner_tui.generation.client import Generators, MachineBusy
from tuner_tui.text import counted, shell_command
from tuner_tui.ui.background import in_background
from tuner_tui.ui.screens.base import ActionFailed, TunerScreen
from tuner_tui.ui.screens.feedback_answers import AnswerPane, AnswersFailed, AnswersMade, waiting_words
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal, literal_lines, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.feedback.records import Mode, Strength, Verdict
    from tuner_tui.feedback.store import Store

HOW: dict[Mode, str] = {
    "pairs": "Which is better? 1-4 choose, 5-8 slightly, t tie, b both bad, → skip",
    "ranking": "Best first: type the numbers in order; → skip, backspace starts again",
    "thumbs": "Is it good? 1 yes, 2 no; → skip",
    "scores": "1 poor to 5 excellent; → skip",
    "demonstrations": "How would you answer? w write, → skip",
}


class FeedbackScreen(TunerScreen):
    """One collection: an annotation is on disk before it is counted as saved."""

    TITLE_WORDS = "Feedback"
    HELP_TEXT = (
        "Answers are in random order, and their models are not shown. An annotation is on disk when it is counted as "
        "saved; leave at any time. A few items are repeated later, swapped, to measure how consistent you are."
    )
    CSS_PATH = "feedback.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc"),
        *(
            Binding(
                str(place),
                f"digit({place})",
                "Choose",
                key_display="1-4" if place == 1 else "",
                show=place == 1,
            )
            for place in range(1, 10)
        ),
        Binding("t,0", "tie", "Tie", key_display="t", tooltip="Neither is better"),
        Binding("b", "both_bad", "Bad", tooltip="None of them is good"),
        Binding("right", "skip", "Skip", key_display="→", show=False, tooltip="Skip this item"),
        Binding("u", "undo", "Undo", tooltip="Undo the last annotation and show the item again"),
        Binding("e", "edit", "Edit", tooltip="Improve one answer; your version becomes preferred"),
        Binding("w", "write", "Write", show=False, tooltip="Write your own answer: a demonstration"),
        Binding("d", "differences", "Differ", tooltip="Highlight the words in which the answers differ"),
        Binding("m", "statistics", "Stats", tooltip="Pace, biases, self-agreement, win rates"),
        Binding("f", "flag", "Flag", show=False, tooltip="Mark this item as unusable; exports leave it out"),
        Binding("n", "note", "Note", show=False, tooltip="Write a note about this item"),
        Binding("y", "accept", "Accept", show=False, tooltip="Accept the judge model's proposal"),
        Binding("backspace", "clear_ranks", "Start again", show=False),
        Binding("down,j", "scroll(1)", "Scroll", show=False),
        Binding("up,k", "scroll(-1)", "Scroll back", show=False),
        Binding("pagedown,space", "scroll(10)", "Page", show=False),
        Binding("pageup", "scroll(-10)", "Page back", show=False),
        Binding("left_square_bracket", "scroll_prompt(-3)", "Prompt up", show=False, key_display="["),
        Binding("right_square_bracket", "scroll_prompt(3)", "Prompt down", show=False, key_display="]"),
    ]

    shown: var[Shown | None] = var(None, init=False)
    has_differences: var[bool] = var(False, init=False)

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
        self._open()

    def on_unmount(self) -> None:
        if self._prefetcher is not None:
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
        has_model = bool(self.session.store.settings().candidates)
        return waiting_words(self.name_of_collection, progress, self._model_state, has_model=has_model)

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
            error.title, f"{error.message}\n\nGenerate answers anyway?", yes="Share", no="Wait"
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
        if self.shown is None:
            self._tell(self._progress)
        else:
            self.notify(f"{message.error.title}: {message.error.message}", severity="error", markup=False)

    async def watch_shown(self, shown: Shown | None) -> None:
        self.set_class(shown is None, "-waiting")
        self._ranked.clear()
        self.has_differences = False
        if shown is not None:
            await self._draw(shown)
            self._watch = Stopwatch()

    async def watch_has_differences(self) -> None:
        if self.shown is not None:
            await self._draw(self.shown)

    async def _draw(self, shown: Shown) -> None:
        show(self.query_one("#prompt-text", Static), literal_lines(shown.item.prompt_text))
        self.query_one("#prompt").scroll_home(animate=False)
        box = self.query_one("#answers", Container)
        box.set_class(len(shown.answers) == 1, "-one")
        box.set_class(len(shown.answers) > 2, "-four")
        texts = [answer.text for answer in shown.answers]
        against: list[str | None] = [None] * len(texts)
        if self.has_differences and len(texts) > 1:
            against = [texts[1], *(texts[0] for _ in texts[1:])]
        panes = list(box.query_children(AnswerPane))
        if len(panes) == len(texts) and all(pane.is_mounted for pane in panes):
            for pane, answer, other in zip(panes, shown.answers, against, strict=True):
                pane.change(answer, other)
            return
        async with self.batch():
            await box.remove_children()
            await box.mount_all(
                AnswerPane(place, answer, against[place]) for place, answer in enumerate(shown.answers)
            )

    # -- annotating --------------------------------------------------------------------------------------------------

    async def _save(self, work_to_do: Callable[[Session, Shown, float], int], confirmation: str) -> None:
        """Save an annotation in a thread; the count and the next item are shown once it is on disk."""
        shown, session = self.shown, self._session
        if shown is None or session is None:
            return
        seconds = self._watch.seconds

        def save_annotation() -> tuple[Shown | None, Progress]:
            work_to_do(session, shown, seconds)
            return session.look()

        try:
            next_shown, progress = await in_background(save_annotation)
        except TunerError as error:
            self.show_error(error)
            return
        if self._copies is not None:
            self._copies.ask()
        self._problem = None
        self.shown = next_shown
        self._tell(progress)
        if self.shown is not None:
            self.times_ready += 1
        elif self._progress.waiting:
            self.times_waited += 1
        self._say(confirmation)
        self._fill()

    def _say(self, words: str) -> None:
        text = f"{words}; saved {self._progress.saved}. {self._proposal_words()}"
        show(self.query_one("#said", Static), literal(text, "$accent"))

    def _proposal_words(self) -> str:
        if self.shown is None or self.shown.proposal is None or self.shown.proposal.proposal is None:
            return ""
        return "A judge model has a proposal; y accepts it."

    async def action_digit(self, digit: int) -> None:
        shown = self.shown
        if shown is None:
            return
        count = len(shown.answers)
        match self._mode:
            case "thumbs" if digit in (1, 2):
                await self._score("thumbs", 2 - digit, "good" if digit == 1 else "not good")
            case "scores" if digit <= 5:
                await self._score("scores", digit, f"score {digit}")
            case "ranking" if digit <= count:
                await self._rank(digit - 1)
            case "pairs" if digit <= count:
                await self._choose(digit - 1, "clear")
            case "pairs" if 5 <= digit < 5 + count:
                await self._choose(digit - 5, "slight")

    async def _choose(self, place: int, strength: Strength) -> None:
        await self._save(
            lambda session, shown, seconds: session.choose(shown, place, strength=strength, seconds=seconds),
            f"{place + 1} {'slightly ' if strength == 'slight' else ''}better",
        )

    async def _score(self, verdict: Verdict, score: int, confirmation: str) -> None:
        await self._save(
            lambda session, shown, seconds: session.keep(shown, verdict, scores=[score], seconds=seconds),
            confirmation,
        )

    async def _rank(self, place: int) -> None:
        """Answers are typed best first; the last one is implied."""
        if place in self._ranked or self.shown is None:
            return
        self._ranked.append(place)
        count = len(self.shown.answers)
        for rank, ranked in enumerate(self._ranked, 1):
            pane = next(pane for pane in self.query(AnswerPane) if pane.place == ranked)
            pane.border_title = f"{ranked + 1}: rank {rank}"
            pane.add_class("-ranked")
        if len(self._ranked) < count - 1:
            return
        order = [*self._ranked, *(answer for answer in range(count) if answer not in self._ranked)]
        ranks = [order.index(answer) + 1 for answer in range(count)]
        words = " > ".join(str(answer + 1) for answer in order)
        await self._save(
            lambda session, shown, seconds: session.keep(shown, "ranking", ranks=ranks, seconds=seconds),
            words,
        )

    async def action_clear_ranks(self) -> None:
        self._ranked.clear()
        if self.shown is not None:
            await self._draw(self.shown)

    async def _equal(self, verdict: Verdict, confirmation: str) -> None:
        if self.shown is None or len(self.shown.answers) < 2:
            return
        ranks = [1] * len(self.shown.answers)
        await self._save(
            lambda session, shown, seconds: session.keep(shown, verdict, ranks=ranks, seconds=seconds),
            confirmation,
        )

    async def action_tie(self) -> None:
        await self._equal("tie", "tie")

    async def action_both_bad(self) -> None:
        await self._equal("both_bad", "both bad")

    async def action_skip(self) -> None:
        await self._save(
            lambda session, shown, seconds: session.keep(shown, "skip", seconds=seconds), "skipped"
        )

    async def action_flag(self) -> None:
        await self._save(
            lambda session, shown, seconds: session.keep(shown, "flag", seconds=seconds), "flagged"
        )

    async def action_accept(self) -> None:
        """Accept the judge model's proposal."""
        shown = self.shown
        proposal = shown.proposal.proposal if shown is not None and shown.proposal is not None else None
        if shown is None or proposal is None or proposal.choice is None:
            self.notify("There is no proposal for this item.")
            return
        places = [answer.id for answer in shown.answers]
        await self._choose(places.index(proposal.choice), "clear")

    async def action_undo(self) -> None:
        if self._session is None:
            return
        try:
            undone = await in_background(self._session.undo)
        except TunerError as error:
            self.show_error(error)
            return
        if undone is None:
            self.notify("There is nothing to undo.")
            return
        if undone[1] is not None:
            self.shown = undone[1]
        await self._tell_anew()
        self._say("undone")

    @work
    async def action_edit(self) -> None:
        from tuner_tui.ui.modals.write_text import WriteText

        shown = self.shown
        if shown is None or not shown.answers:
            return
        place = 0
        if len(shown.answers) > 1:
            from tuner_tui.ui.modals.pick_place import PickPlace

            picked = await self.app.push_screen_wait(PickPlace(len(shown.answers)))
            if picked is None:
                return
            place = picked
        before = shown.answers[place]
        text = await self.app.push_screen_wait(WriteText(f"Edit answer {place + 1}", before.text))
        if text is not None and text.strip() != before.text.strip():
            await self._save(
                lambda session, shown, seconds: session.keep(
                    shown, "choice", written=text, edited_from=before.id, seconds=seconds
                ),
                "your version is preferred",
            )

    @work
    async def action_write(self) -> None:
        from tuner_tui.ui.modals.write_text import WriteText

        if self.shown is None:
            return
        text = await self.app.push_screen_wait(WriteText("Your own answer"))
        if text is not None:
            await self._save(
                lambda session, shown, seconds: session.keep(
                    shown, "demonstration", written=text, seconds=seconds
                ),
                "your answer",
            )

    @work
    async def action_note(self) -> None:
        from tuner_tui.ui.modals.write_text import WriteText

        shown, session = self.shown, self._session
        if shown is None or session is None:
            return
        text = await self.app.push_screen_wait(WriteText("A note about this item"))
        if text is not None:
            try:
                await in_background(session.store.note, shown.item.id, text, session.annotator)
            except TunerError as error:
                self.show_error(error)
                return
            self._say("note saved")

    # -- looking --------------------------------------------------------------------------------------------------

    def action_differences(self) -> None:
        self.has_differences = not self.has_differences

    def action_scroll(self, lines: int) -> None:
        """Scroll all answers together."""
        for pane in self.query(AnswerPane):
            pane.scroll_relative(y=lines, animate=False)

    def action_scroll_prompt(self, lines: int) -> None:
        self.query_one("#prompt").scroll_relative(y=lines, animate=False)

    async def action_statistics(self) -> None:
        from tuner_tui.feedback.statistics import annotator_statistics
        from tuner_tui.feedback.statistics_words import statistics_lines
        from tuner_tui.ui.modals.message import MessageModal

        session = self._session
        if session is None:
            return

        def current_lines() -> list[str]:
            contents = session.store.contents()
            lines = statistics_lines(
                annotator_statistics(contents.items, contents.entries), session.progress()
            )
            if contents.problems:
                lines += [
                    "",
                    f"{counted(len(contents.problems), 'row')} cannot be read and "
                    f"{'is' if len(contents.problems) == 1 else 'are'} not included in these figures:",
                ]
                lines.append(shell_command("feedback check", self.name_of_collection))
            return lines

        try:
            lines = await in_background(current_lines)
        except TunerError as error:
            self.show_error(error)
            return
        if not self.is_in_front:
            return
        self.app.push_screen(MessageModal("Your annotator statistics", "\n".join(lines)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys that the mode uses."""
        if action in ("tie", "both_bad"):
            return self._mode == "pairs"
        if action == "differences":
            return self._mode in ("pairs", "ranking")
        if action in ("digit",):
            return self._mode != "demonstrations"
        return True

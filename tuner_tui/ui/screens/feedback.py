"""Feedback: answers side by side, blind; one key saves an annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.containers import Container
from textual.widgets import Static

from tuner_tui.errors import TunerError
from tuner_tui.feedback.session import Progress, Session, Shown, Stopwatch
from tuner_tui.text import counted, shell_command
from tuner_tui.ui.background import in_background
from tuner_tui.ui.collection_keys import EXPORT, TRAIN, export_from, train_on
from tuner_tui.ui.screens.feedback_answers import AnswerPane
from tuner_tui.ui.screens.feedback_session import FeedbackSession
from tuner_tui.ui.widgets.literal import literal, literal_lines, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.feedback.records import Strength, Verdict

FOR_ANSWERS = ("digit", "tie", "both_bad", "skip", "edit", "differences", "accept", "flag", "clear_ranks")
"""Actions on the answers that are shown."""


class FeedbackScreen(FeedbackSession):
    """One collection: an annotation is on disk before it is counted as saved."""

    TITLE_WORDS = "Feedback"
    HELP_TEXT = (
        "Answers are in random order, and their models are not shown. An annotation is on disk when it is counted as "
        "saved; leave at any time. A few items are repeated later, swapped, to measure how consistent you are."
    )
    CSS_PATH = "feedback.tcss"
    BINDINGS = [  # noqa: RUF012
        *(
            Binding("1", f"digit(1, {most})", "Choose", key_display="1" if most == 1 else f"1-{most}")
            for most in range(1, 10)
        ),
        *(Binding(str(place), f"digit({place})", "Choose", show=False) for place in range(2, 10)),
        Binding("t,0", "tie", "Tie", key_display="t", tooltip="Neither is better"),
        Binding("b", "both_bad", "Bad", tooltip="None of them is good"),
        Binding("right", "skip", "Skip", key_display="→", show=False, tooltip="Skip this item"),
        Binding("u", "undo", "Undo", tooltip="Undo the last annotation and show the item again"),
        Binding("e", "edit", "Edit", tooltip="Improve one answer; your version becomes preferred"),
        Binding("w", "write", "Write", show=False, tooltip="Write your own answer: a demonstration"),
        Binding("d", "differences", "Differ", tooltip="Highlight the words in which the answers differ"),
        Binding("m", "statistics", "Stats", tooltip="Pace, biases, self-agreement, win rates"),
        TRAIN,
        EXPORT,
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

    async def watch_shown(self, shown: Shown | None) -> None:
        self.set_class(shown is None, "-waiting")
        self.refresh_bindings()
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

    @property
    def _most(self) -> int:
        """The last of the numbers from 1 that choose an answer or score it; 0 where none does."""
        count = len(self.shown.answers) if self.shown is not None else 0
        return {"thumbs": 2, "scores": 5, "demonstrations": 0}.get(self._mode, min(count, 9)) if count else 0

    async def action_digit(self, digit: int, _: int = 0) -> None:
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

    # -- using --------------------------------------------------------------------------------------------------

    def action_train(self) -> None:
        train_on(self, self.name_of_collection)

    @work
    async def action_export(self) -> None:
        await export_from(self, self.name_of_collection)

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
        """Show only the keys that the mode uses, and those for answers only while there are some."""
        if self.shown is None and action in FOR_ANSWERS:
            return False
        count = len(self.shown.answers) if self.shown is not None else 0
        if action in ("tie", "both_bad"):
            return self._mode == "pairs" and count > 1
        if action == "edit":
            return count > 0
        if action == "differences":
            return self._mode in ("pairs", "ranking")
        if action == "digit":
            return self._allows_digit(*parameters)
        return super().check_action(action, parameters)

    def _allows_digit(self, digit: object, most: object = None) -> bool:
        """Whether a number says something here; of the bindings of 1, that which names them all."""
        if most is not None:
            return most == self._most
        is_slightly = self._mode == "pairs" and digit in range(5, 5 + self._most)
        return digit in range(1, self._most + 1) or is_slightly

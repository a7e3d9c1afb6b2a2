"""Chat: the same question to base and tuned model, side by side."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import var
from textual.widgets import Input, Static

from tuner_tui.errors import TunerError
from tuner_tui.generation.client import Generators, MachineBusy, new_id, new_seed
from tuner_tui.generation.conversation import Conversation, parse_sampling, sampling_text, why_stopped
from tuner_tui.generation.conversation import Reply as Answer
from tuner_tui.generation.messages import Answered, Candidate, Failed, Generate, Grew
from tuner_tui.generation.transcripts import keep_transcript, new_transcript
from tuner_tui.text import counted, duration, shell_command
from tuner_tui.ui import chat_keeping
from tuner_tui.ui.background import in_background
from tuner_tui.ui.modals.pick_sides import MOST_CANDIDATES
from tuner_tui.ui.screens.base import ActionDone, TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.chat_column import ChatColumn
from tuner_tui.ui.widgets.literal import literal, show

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.app import ComposeResult

    from tuner_tui.generation.messages import Reply


class Replied(Message):
    """A reply to one candidate's request came in."""

    def __init__(self, place: int, reply: Reply) -> None:
        super().__init__()
        self.place, self.reply = place, reply

    def can_replace(self, message: Message) -> bool:
        """Each partial answer is complete so far, so a later one replaces an earlier one."""
        return (
            isinstance(message, Replied)
            and isinstance(message.reply, Grew)
            and message.reply.id == self.reply.id
        )


class StateHeard(Message):
    """The state of a model's process."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


class ChatScreen(TunerScreen):
    """Multi-turn, streaming; one key saves a rating to a collection."""

    TITLE_WORDS = "Chat"
    HELP_TEXT = (
        "All models get the same question. Tab goes from the input to the answers, where g and b save one "
        "as good or bad, 1 to 4 save which is best, and i goes back to the input. Chats are kept in "
        "the folder chats of the data folder."
    )
    CSS_PATH = "chat.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc", tooltip="Leave the chat; it is kept"),
        Binding("tab", "app.focus_next", "Answers", tooltip="From the input to the answers, and back"),
        Binding("i", "type", "Type", tooltip="Back to the input"),
        Binding("ctrl+r", "regenerate", "Again", tooltip="Regenerate the last answers with other seeds"),
        Binding("ctrl+e", "edit", "Edit", show=False, tooltip="Edit the last question and ask it again"),
        Binding(
            "ctrl+x",
            "stop",
            "Stop",
            priority=True,  # while there is something to stop; else the input cuts its text
            tooltip="Stop answering; what was said so far stays",
        ),
        Binding("x", "stop", "Stop", show=False, tooltip="Stop answering; what was said so far stays"),
        Binding("g", "thumb(True)", "Good", tooltip="Save this column's answer as good"),
        Binding("b", "thumb(False)", "Bad", tooltip="Save this column's answer as bad"),
        *(
            Binding("1", f"better(1, {count})", "Better", key_display=f"1-{count}")
            for count in range(2, MOST_CANDIDATES + 1)
        ),
        *(Binding(str(place), f"better({place})", "Better", show=False) for place in range(2, 5)),
        Binding("plus", "sides", "Models", key_display="+", tooltip="Choose the models that answer"),
        Binding(
            "p",
            "prompt_first",
            "System",
            tooltip="Add the base with a system prompt, to compare with prompting",
        ),
        Binding("o", "settings", "Sampling", show=False, tooltip="Temperature, length and similar"),
        Binding(
            "v",
            "keep_prompts",
            "Save prompts",
            show=False,
            tooltip="Save the questions as prompts in the collection",
        ),
    ]

    talk: var[Conversation] = var(Conversation(candidates=()), init=False)

    def __init__(
        self,
        talk: Conversation,
        collection: str = "chat",
        generators: Generators | None = None,
        *,
        first_prompt: str = "",
    ) -> None:
        """`first_prompt` is a system prompt to begin with: it is shown to be completed at once."""
        super().__init__()
        self.set_reactive(ChatScreen.talk, talk)
        self._collection = collection
        self._generators = generators or Generators()
        self._requests: dict[str, tuple[int, int]] = {}
        """By a request's id: the question's number and the seed."""
        self._transcript: Path | None = None
        self._model_state, self._asked_at = "", 0.0
        self._first_prompt = first_prompt

    @property
    def headless_command(self) -> str:
        options: list[str] = []
        for candidate in self.talk.candidates:
            options += ["--system", candidate.system] if candidate.system else ["--side", candidate.text]
        return shell_command("chat", options=options)

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="columns"):
            for place in range(len(self.talk.candidates)):
                yield ChatColumn(place)
        yield Static("", id="state")
        yield Input(placeholder="Ask a question; Enter sends it", id="question", compact=True)

    def on_mount(self) -> None:
        self._generators.listen(lambda words: self._post(StateHeard(words)))
        self.query_one(Input).focus()
        self.set_interval(1.0, self._count)
        self._draw()
        if self._first_prompt:
            self.call_after_refresh(self.action_prompt_first)

    def on_unmount(self) -> None:
        self._generators.close()

    def _post(self, message: Message) -> None:
        if self.is_attached:
            self.post_message(message)

    def watch_talk(self, before: Conversation, talk: Conversation) -> None:
        if self.is_mounted:
            self._draw()
            if before.is_waiting != talk.is_waiting:
                self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An answer that is being generated can be stopped; of several, one can be better."""
        if action == "stop":
            return self.talk.is_waiting
        if action == "better":
            place, *named = parameters
            count = len(self.talk.candidates)
            return count > 1 and (named == [count] if named else place in range(1, count + 1))
        return True

    def _draw(self) -> None:
        for column in self.query(ChatColumn):
            column.show_talk(self.talk)
        count = len(self.talk.questions)
        self.query_one(TitleBar).state = counted(count, "question")

    def on_state_heard(self, message: StateHeard) -> None:
        self._model_state = message.words
        self._show_state()

    def _show_state(self) -> None:
        show(self.query_one("#state", Static), literal(self._model_state))

    def _count(self) -> None:
        """How long a question waits for its first words, which is long while a model is loaded."""
        if self.talk.is_waiting and not any(reply.text for reply in self.talk.replies[-1]):
            words = f"{self._model_state or 'asking'} ... {duration(time.monotonic() - self._asked_at)}"
            show(self.query_one("#state", Static), literal(words))

    def on_action_done(self, message: ActionDone) -> None:
        message.prevent_default()
        show(self.query_one("#state", Static), literal(message.words))

    # -- asking ---------------------------------------------------------------------------------------------------

    @on(Input.Submitted, "#question")
    def send(self, event: Input.Submitted) -> None:
        if event.value.strip() and not self.talk.is_waiting:
            self._ask(event.value)
            event.input.clear()

    def _ask(self, question: str) -> None:
        self.talk = self.talk.asking(question)
        self._send_last()

    def _send_last(self) -> None:
        number = len(self.talk.questions) - 1
        self._asked_at = time.monotonic()
        for place, candidate in enumerate(self.talk.candidates):
            request = Generate(
                id=new_id(),
                turns=self.talk.turns(place),
                sampling=self.talk.sampling,
                seed=new_seed(),
                adapter=candidate.adapter,
                is_alone=True,
                is_urgent=True,
            )
            self._requests[request.id] = (number, request.seed)
            try:
                self._generators.of(candidate.base).submit(request, self._listener(place))
            except MachineBusy as error:
                self._ask_to_share(error)
                return
            except TunerError as error:
                self._take(place, request.id, Answer(is_done=True, problem=f"{error.title}: {error.message}"))

    def _listener(self, place: int) -> Callable[[Reply], None]:
        return lambda reply: self._post(Replied(place, reply))

    @work(exclusive=True, group="share")
    async def _ask_to_share(self, error: MachineBusy) -> None:
        from tuner_tui.ui.modals.confirm import ConfirmModal

        question = ConfirmModal(error.title, f"{error.message}\n\nAnswer anyway?", yes="Go ahead", no="Wait")
        if await self.ask(question):
            self._generators.agree_to_share()
            self._send_last()
        else:
            self.talk = self.talk.up_to(len(self.talk.questions) - 1)

    def on_replied(self, message: Replied) -> None:
        reply = message.reply
        request = self._requests.get(reply.id)
        if request is None:
            return
        seed = request[1]
        match reply:
            case Grew():
                self._take(message.place, reply.id, Answer(text=reply.text, tokens=reply.tokens, seed=seed))
            case Answered():
                self._take(
                    message.place,
                    reply.id,
                    Answer(
                        text=reply.text,
                        is_done=True,
                        is_finished=reply.is_finished,
                        stopped=why_stopped(reply, self.talk.sampling),
                        tokens=reply.tokens,
                        tokens_per_second=reply.tokens / reply.seconds if reply.seconds else None,
                        seed=seed,
                        template=reply.template,
                    ),
                )
            case Failed():
                problem = "\n".join(part for part in (reply.title, reply.message, reply.hint) if part)
                self._take(message.place, reply.id, Answer(is_done=True, problem=problem))

    def _take(self, place: int, identity: str, answer: Answer) -> None:
        number = self._requests[identity][0]
        if number < len(self.talk.questions) and place < len(self.talk.candidates):
            self.talk = self.talk.replying(number, place, answer)
        if answer.is_done:
            del self._requests[identity]
            if self.talk.replies and not self.talk.is_waiting:
                self._keep_transcript(self.talk)

    @work(exclusive=True, group="transcript")
    async def _keep_transcript(self, talk: Conversation) -> None:
        """Write what was said so far, over what this chat had written."""
        self._transcript = self._transcript or new_transcript()
        try:
            await in_background(keep_transcript, talk, self._transcript)
        except (OSError, TunerError) as error:
            self.post_message(StateHeard(f"This chat is not kept: {error}"))

    # -- keys -----------------------------------------------------------------------------------------------------

    def action_type(self) -> None:
        self.query_one("#question").focus()

    def action_stop(self) -> None:
        for candidate in self.talk.candidates:
            for identity in self._requests:
                self._generators.of(candidate.base).cancel(identity)

    def action_regenerate(self) -> None:
        if self.talk.questions and not self.talk.is_waiting:
            question = self.talk.questions[-1]
            self.talk = self.talk.up_to(len(self.talk.questions) - 1)
            self._ask(question)

    @work
    async def action_edit(self) -> None:
        from tuner_tui.ui.modals.write_text import WriteText

        if not self.talk.questions or self.talk.is_waiting:
            return
        text = await self.app.push_screen_wait(WriteText("Edit the question", self.talk.questions[-1]))
        if text is not None:
            self.talk = self.talk.up_to(len(self.talk.questions) - 1)
            self._ask(text)

    def action_thumb(self, is_good: bool) -> None:
        column = self.focused
        if isinstance(column, ChatColumn) and self._has_answers():
            place, talk, name = column.place, self.talk, self._collection
            self.perform(lambda: chat_keeping.keep_thumb(name, talk, place, is_good))

    def action_better(self, place: int, _: int = 0) -> None:
        talk, name = self.talk, self._collection
        if self._has_answers() and 1 < len(talk.candidates) >= place:
            self.perform(lambda: chat_keeping.keep_better(name, talk, place - 1))

    def action_keep_prompts(self) -> None:
        talk, name = self.talk, self._collection
        self.perform(lambda: chat_keeping.keep_prompts(name, talk))

    def _has_answers(self) -> bool:
        if not self.talk.replies or self.talk.is_waiting or any(r.problem for r in self.talk.replies[-1]):
            self.notify("There is no answer yet.")
            return False
        return True

    @work
    async def action_sides(self) -> None:
        from tuner_tui.ui.modals.pick_sides import PickSides

        present = {candidate.text: candidate for candidate in self.talk.candidates if not candidate.system}
        chosen = await self.app.push_screen_wait(PickSides(tuple(present)))
        if chosen:
            known = [present.get(candidate.text, candidate) for candidate in chosen]
            prompted = [candidate for candidate in self.talk.candidates if candidate.system]
            await self._change_candidates(tuple(dict.fromkeys((*known, *prompted)))[:MOST_CANDIDATES])

    @work
    async def action_prompt_first(self) -> None:
        from tuner_tui.ui.modals.write_text import WriteText

        begun, self._first_prompt = self._first_prompt, ""
        text = await self.app.push_screen_wait(WriteText("A system prompt for the base", begun))
        if text is not None and len(self.talk.candidates) < MOST_CANDIDATES:
            base = self.talk.candidates[0].base
            await self._change_candidates((*self.talk.candidates, Candidate(base=base, system=text)))

    async def _change_candidates(self, candidates: tuple[Candidate, ...]) -> None:
        """Update the columns; models that stay are not loaded again."""
        if self.talk.is_waiting or not candidates:
            return
        box = self.query_one("#columns")
        async with self.batch():
            await box.remove_children()
            self.set_reactive(ChatScreen.talk, self.talk.with_candidates(candidates))
            await box.mount_all([ChatColumn(place) for place in range(len(candidates))])
        self._draw()
        self.refresh_command()
        self.refresh_bindings()
        self.action_type()

    @work
    async def action_settings(self) -> None:
        from tuner_tui.ui.modals.write_text import WriteText

        title = "Sampling settings"
        text: str | None = sampling_text(self.talk.sampling)
        while True:
            text = await self.app.push_screen_wait(WriteText(title, text or ""))
            if text is None:
                return
            try:
                sampling = parse_sampling(text, self.talk.sampling)
            except ValueError as error:  # what was typed stays, to be corrected
                title = f"Sampling settings: {error}"
            else:
                self.talk = msgspec.structs.replace(self.talk, sampling=sampling)
                return

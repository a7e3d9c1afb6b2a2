"""Generates answers ahead, in batches, so that the next item is ready before it is needed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.feedback.answer_meter import AnswerMeter
from tuner_tui.feedback.records import NewAnswer, model_maker
from tuner_tui.feedback.session import wanted_answers
from tuner_tui.generation.client import new_id, new_seed
from tuner_tui.generation.messages import Answered, Failed, Generate, Grew

if TYPE_CHECKING:
    from tuner_tui.feedback.answer_meter import GenerationProgress
    from tuner_tui.feedback.records import CollectionSettings, Item, Maker
    from tuner_tui.feedback.session import Session
    from tuner_tui.generation.client import Generators
    from tuner_tui.generation.messages import Candidate, Reply

READY_AHEAD = 12
"""Items to have ready: at three seconds each they cover the time of two batches."""
FIRST_BATCH = 2
"""The first batch is small, because the annotator waits for it."""
BATCH = 8
"""Items per batch. Two answers of up to 60 tokens each by SmolLM2 on two cores: one item 3.4 s, eight at once 6.4 s."""


@dataclass
class _Making:
    """An item whose answers are being generated."""

    item: Item
    requests: dict[str, Candidate]
    """The requests without a reply, by their ids."""
    made: list[NewAnswer] = field(default_factory=list)
    has_failed: bool = False


class Prefetcher:
    """Requests answers to the next prompts and saves them; saved answers survive the app."""

    def __init__(
        self,
        session: Session,
        generators: Generators,
        on_change: Callable[[], None],
        on_problem: Callable[[TunerError], None],
        ahead: int | None = READY_AHEAD,
    ) -> None:
        """`on_change`: answers were saved; `on_problem`: generating failed. Both are called in other threads.

        `ahead` is how many items to have ready; None answers all prompts, in batches of full size.
        """
        self._session = session
        self._generators = generators
        self._on_change = on_change
        self._on_problem = on_problem
        self._ahead = ahead
        self._making: dict[int, _Making] = {}
        self._failed: set[int] = set()
        self._turn = threading.RLock()
        self._meter = AnswerMeter()
        self._has_made = ahead is None
        self._batch_has_made = False
        """Whether any answer of the last batch was saved; else a further batch would fail too."""
        self._is_closed = False
        self.idle = threading.Event()
        """Set while nothing is being generated and nothing more will be requested."""
        self.is_stopped = False
        """Whether the person stopped it; `resume` ends that."""

    @property
    def in_making(self) -> int:
        """The number of items whose answers are being generated."""
        return len(self._making)

    def progress(self) -> GenerationProgress:
        """How far this round is: the items to have ready, or all prompts."""
        with self._turn:
            return self._meter.look()

    def fill(self) -> None:
        """Request more if too few are ready. Raises MachineBusy, and TunerError when no worker can be started."""
        with self._turn:
            if self._making:
                return
            requests = [] if self._is_closed or self.is_stopped else self._next_requests()
            if not requests:
                self.idle.set()
                return
            self.idle.clear()
            self._batch_has_made = False
        try:
            for candidate, request, number in requests:
                self._generators.of(candidate.base).submit(
                    request,
                    lambda reply, c=candidate, r=request, n=number: self._take(reply, c, r, n),  # type: ignore[misc]
                )
        except TunerError:
            with self._turn:
                self._making.clear()
            self.idle.set()
            raise
        if self.is_stopped:  # meanwhile
            self.stop()

    def _next_requests(self) -> list[tuple[Candidate, Generate, int]]:
        """The requests of the next batch; none when enough items are ready, which ends the round."""
        settings = self._session.store.settings()
        missing = self._session.missing_answers()
        short = len(missing) if self._ahead is None else self._ahead - self._session.progress().ready
        ahead = [count for item, count in missing.items() if item not in self._failed][: max(0, short)]
        if not ahead:
            self._meter.begin()
            return []
        self._meter.plan(len(ahead), sum(ahead), settings.sampling.max_new_tokens)
        count = BATCH if self._has_made else FIRST_BATCH
        items = [
            item
            for item in self._session.unanswered(count + len(self._failed))
            if item.id not in self._failed
        ][:count]
        requests: list[tuple[Candidate, Generate, int]] = []
        for item in items:
            own = [self._request(settings, item, place) for place in missing_places(item, settings)]
            if own:
                self._making[item.id] = _Making(item, {request.id: side for side, request, _ in own})
                requests += own
        return requests

    def stop(self) -> None:
        """Cancel what is being generated; complete answers are saved, and `resume` continues.

        Raises TunerError when they cannot be saved.
        """
        problem = None
        with self._turn:
            self.is_stopped = True
            requests: list[tuple[Candidate, str]] = []
            for making in list(self._making.values()):
                requests += [(candidate, identity) for identity, candidate in making.requests.items()]
                problem = self._finish(making) or problem
            for _, identity in requests:
                self._meter.given_up(identity)
        for candidate, identity in requests:
            self._generators.of(candidate.base).cancel(identity)
        self.idle.set()
        if problem is not None:
            raise problem

    def resume(self) -> None:
        """Allow requests again after a stop, also for prompts whose generation failed; `fill` makes them."""
        with self._turn:
            self.is_stopped = False
            self._failed.clear()

    def close(self) -> None:
        """Request no more answers, and save the complete ones. Raises TunerError when they cannot be saved."""
        self._is_closed = True
        self.stop()

    def _request(
        self, settings: CollectionSettings, item: Item, place: int
    ) -> tuple[Candidate, Generate, int]:
        candidate = settings.candidates[place % len(settings.candidates)]
        request = Generate(
            id=new_id(),
            turns=candidate.turns(item.prompt),
            sampling=settings.sampling,
            seed=new_seed(),
            adapter=candidate.adapter,
        )
        return candidate, request, item.id

    def _take(self, reply: Reply, candidate: Candidate, request: Generate, number: int) -> None:
        """In a client's thread: save an item's answers once all have arrived."""
        if isinstance(reply, Grew):
            with self._turn:
                self._meter.grew(reply.id, reply.tokens)
            return
        if not isinstance(reply, (Answered, Failed)):
            return
        problem: TunerError | None = None
        with self._turn:
            making = self._making.get(number)
            if making is None:
                return
            making.requests.pop(reply.id, None)
            if isinstance(reply, Answered) and not reply.is_cancelled:
                self._meter.answered(reply.id, reply.tokens)
                making.made.append(made_answer(reply, candidate, request))
            else:
                self._meter.given_up(reply.id)
                if isinstance(reply, Failed):
                    making.has_failed = True
                    problem = TunerError(reply.title, reply.message, reply.hint)
            if not making.requests:
                problem = self._finish(making) or problem
        if problem is not None:
            self._on_problem(problem)
        self._on_change()
        if self._making:
            return
        if not self._batch_has_made:
            self.idle.set()
            return
        try:
            self.fill()
        except TunerError as error:
            self._on_problem(error)

    def _finish(self, making: _Making) -> TunerError | None:
        """Save an item's answers; where some of them failed or were cancelled, the complete ones."""
        del self._making[making.item.id]
        if making.has_failed:
            self._failed.add(making.item.id)
        if not making.made:
            return None
        try:
            store = self._session.store
            store.add_answers(making.item.id, making.made, wanted_answers(store.settings()))
        except TunerError as error:
            return error
        self._has_made = self._batch_has_made = True
        self._meter.done_prompts += not (making.has_failed or making.requests)
        return None


def missing_places(item: Item, settings: CollectionSettings) -> list[int]:
    """The positions of the answers that an item still lacks; the position selects the model.

    Answers from files take the first positions that no model's own answer has.
    """
    wanted = wanted_answers(settings)
    own_answers = [answer for answer in item.answers if answer.maker.kind != "person"]
    unmatched = Counter(_model_of(answer.maker) for answer in own_answers)
    free: list[int] = []
    for place in range(wanted):
        candidate = settings.candidates[place % len(settings.candidates)]
        model = (candidate.base.source, candidate.adapter, candidate.system)
        if unmatched[model]:
            unmatched[model] -= 1
        else:
            free.append(place)
    return free[len(free) - max(0, wanted - len(own_answers)) :]


def _model_of(maker: Maker) -> tuple[str, str | None, str]:
    return maker.model, maker.adapter, maker.system


def made_answer(reply: Answered, candidate: Candidate, request: Generate) -> NewAnswer:
    """An answer with the settings that generated it."""
    maker = model_maker(
        candidate,
        template=reply.template,
        sampling=request.sampling,
        seed=reply.seed,
        batch_size=reply.batch_size,
    )
    return NewAnswer(text=reply.text, maker=maker, is_finished=reply.is_finished)

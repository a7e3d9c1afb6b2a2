"""Generates answers ahead, in batches, so that the next item is ready before it is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.feedback.records import NewAnswer, model_maker
from tuner_tui.feedback.session import wanted_answers
from tuner_tui.generation.client import new_id, new_seed
from tuner_tui.generation.messages import Answered, Failed, Generate

if TYPE_CHECKING:
    from tuner_tui.feedback.records import CollectionSettings, Item
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
    missing: int
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
    ) -> None:
        """`on_change`: answers were saved; `on_problem`: generating failed. Both are called in other threads."""
        self._session = session
        self._generators = generators
        self._on_change = on_change
        self._on_problem = on_problem
        self._making: dict[int, _Making] = {}
        self._failed: set[int] = set()
        self._turn = threading.RLock()
        self._has_made = False
        self._is_closed = False

    @property
    def in_making(self) -> int:
        """The number of items whose answers are being generated."""
        return len(self._making)

    def fill(self) -> None:
        """Request more if too few are ready. Raises MachineBusy, and TunerError when no worker can be started."""
        with self._turn:
            settings = self._session.store.settings()
            wanted = wanted_answers(settings)
            if not wanted or self._making or self._is_closed or self._session.progress().ready >= READY_AHEAD:
                return
            count = BATCH if self._has_made else FIRST_BATCH
            items = [
                item
                for item in self._session.unanswered(count + len(self._failed))
                if item.id not in self._failed
            ][:count]
            requests: list[tuple[Candidate, Generate, int]] = []
            for item in items:
                places = missing_places(item, wanted)
                if places:
                    self._making[item.id] = _Making(item, len(places))
                    requests += [self._request(settings, item, place) for place in places]
        try:
            for candidate, request, number in requests:
                self._generators.of(candidate.base).submit(
                    request,
                    lambda reply, c=candidate, r=request, n=number: self._take(reply, c, r, n),  # type: ignore[misc]
                )
        except TunerError:
            with self._turn:
                self._making.clear()
            raise

    def forget_failures(self) -> None:
        """Also retry prompts whose generation failed."""
        with self._turn:
            self._failed.clear()

    def close(self) -> None:
        """Request no more answers."""
        self._is_closed = True

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
        if not isinstance(reply, (Answered, Failed)):
            return
        problem: TunerError | None = None
        with self._turn:
            making = self._making.get(number)
            if making is None:
                return
            if isinstance(reply, Failed):
                making.has_failed = True
                problem = TunerError(reply.title, reply.message, reply.hint)
            else:
                making.made.append(made_answer(reply, candidate, request))
            making.missing -= 1
            if making.missing == 0:
                problem = self._finish(making) or problem
        if problem is not None:
            self._on_problem(problem)
        self._on_change()
        if not self._making and problem is None:
            try:
                self.fill()
            except TunerError as error:
                self._on_problem(error)

    def _finish(self, making: _Making) -> TunerError | None:
        del self._making[making.item.id]
        if making.has_failed:
            self._failed.add(making.item.id)
            return None
        try:
            store = self._session.store
            store.add_answers(making.item.id, making.made, wanted_answers(store.settings()))
        except TunerError as error:
            return error
        self._has_made = True
        return None


def missing_places(item: Item, wanted: int) -> list[int]:
    """The positions of the answers that an item still lacks; the position selects the model."""
    has = sum(answer.maker.kind != "person" for answer in item.answers)
    return list(range(has, wanted))


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

"""Progress of a verification: prompts done of all, and the time left by the pace so far."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Literal

from tuner_tui.runs.export_events import PromptsVerified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner_tui.runs.export_events import Event

Kind = Literal["answers", "comparisons"]
"""Generating an answer, or one pass over a whole answer, which takes less time."""


class Rounds:
    """The rounds of a verification: each runs one model on some prompts."""

    def __init__(
        self,
        planned: Mapping[Kind, int],
        emit: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`planned` are the prompts of all rounds, by what is done with them."""
        self._left = Counter[Kind](planned)
        self._total = self._left.total()
        self._done = Counter[Kind]()
        self._seconds: dict[Kind, float] = {}
        self._emit, self._clock = emit, clock

    def begin(self, kind: Kind) -> Callable[[], None]:
        """Begin a round once its model is loaded; returns what is to be called after each prompt."""
        before = self._clock()

        def prompt_done() -> None:
            nonlocal before
            now = self._clock()
            self._seconds[kind] = self._seconds.get(kind, 0.0) + now - before
            before = now
            self._done[kind] += 1
            self._left[kind] -= 1
            self._tell()

        return prompt_done

    def leave_out(self, kind: Kind, prompts: int) -> None:
        """Take off prompts that will not be run, since their model does not fit in memory."""
        self._left[kind] -= prompts
        self._total -= prompts

    def _tell(self) -> None:
        self._emit(
            PromptsVerified(
                done_prompts=self._done.total(),
                total_prompts=self._total,
                seconds_left=round(sum(left * self._pace(kind) for kind, left in self._left.items()), 1),
            )
        )

    def _pace(self, kind: Kind) -> float:
        """Seconds per prompt; those of the other kind where this one was not measured yet."""
        measured = kind if self._done[kind] else next(iter(self._seconds))
        return self._seconds[measured] / self._done[measured]

"""Speed and time left of a transfer and of a verification, in words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner_tui.text import counted, duration, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.export_events import PromptsVerified

SHORTEST_SECONDS = 0.2
"""No speed is shown before."""


class Pace:
    """One transfer, measured from its first report; bytes from before do not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Another transfer starts."""
        self._started: float | None = None
        self._first_bytes = 0

    def words(self, done_bytes: int, total_bytes: int) -> str:
        """Such as "12.0 MB of 40.0 MB, 4.0 MB/s, 7 s left"; without speed while unknown."""
        now = self._clock()
        if self._started is None:
            self._started, self._first_bytes = now, done_bytes
        amount = f"{size(done_bytes)} of {size(total_bytes)}"
        seconds, moved = now - self._started, done_bytes - self._first_bytes
        if seconds < SHORTEST_SECONDS or moved <= 0:
            return amount
        speed = moved / seconds
        return f"{amount}, {size(round(speed))}/s, {duration((total_bytes - done_bytes) / speed)} left"


def verified_words(event: PromptsVerified) -> str:
    """Such as "7 of 24 prompts, 1 min 5 s left"."""
    amount = f"{event.done_prompts} of {counted(event.total_prompts, 'prompt')}"
    return f"{amount}, {duration(event.seconds_left)} left"

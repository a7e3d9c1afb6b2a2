"""How fast bytes go, and how long the rest will take, in words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner_tui.text import duration, size

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_SECONDS = 0.2
"""Before that a speed would be a guess."""


class Pace:
    """One stretch of work, from its first report on; what was there before it does not count as fast."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Another stretch begins."""
        self._started: float | None = None
        self._first_bytes = 0

    def words(self, done_bytes: int, total_bytes: int) -> str:
        """Such as "12.0 MB of 40.0 MB, 4.0 MB/s, 7 s left"; without speed while there is none to tell."""
        now = self._clock()
        if self._started is None:
            self._started, self._first_bytes = now, done_bytes
        told = f"{size(done_bytes)} of {size(total_bytes)}"
        seconds, moved = now - self._started, done_bytes - self._first_bytes
        if seconds < SHORTEST_SECONDS or moved <= 0:
            return told
        speed = moved / seconds
        return f"{told}, {size(round(speed))}/s, {duration((total_bytes - done_bytes) / speed)} left"

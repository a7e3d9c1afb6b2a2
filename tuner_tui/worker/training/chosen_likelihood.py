"""Whether chosen answers become less likely together with the rejected ones: the usual harm of preferences."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW = 8
"""Steps over which figures are averaged, since each step sees other rows."""
FALL = 0.05
"""A fall of the chosen answers' log-probability by this share of itself is worth a word."""


class FallWatch:
    """Takes each step's figures and says once when both log-probabilities have fallen.

    Against a reference the fall is read off the rewards, which are beta x (log-probability - the reference's), so that
    rows of other lengths do not matter. Without one it is read off the log-probabilities, against the first steps.
    """

    def __init__(self, beta: float | None) -> None:
        """`beta` is that of a method with a reference; None for one without."""
        self._beta = beta
        self._first: list[tuple[float, float]] = []
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)
        self._has_spoken = False

    def has_fallen(self, metrics: Mapping[str, float]) -> bool:
        """Whether this step's figures show it for the first time."""
        names = ("logps/chosen", "logps/rejected")
        if self._has_spoken or any(name not in metrics for name in names):
            return False
        chosen, rejected = (metrics[name] for name in names)
        if self._beta is not None:
            if any(name not in metrics for name in ("rewards/chosen", "rewards/rejected")):
                return False
            falls = (metrics["rewards/chosen"] / self._beta, metrics["rewards/rejected"] / self._beta)
        elif len(self._first) < WINDOW:
            self._first.append((chosen, rejected))
            return False
        else:
            begun = [sum(each) / WINDOW for each in zip(*self._first, strict=True)]
            falls = (chosen - begun[0], rejected - begun[1])
        self._recent.append((*falls, abs(chosen)))
        if len(self._recent) < WINDOW:
            return False
        fall_of_chosen, fall_of_rejected, size = (
            sum(each) / WINDOW for each in zip(*self._recent, strict=True)
        )
        self._has_spoken = fall_of_chosen < -FALL * size and fall_of_rejected < 0
        return self._has_spoken

"""Detects chosen answers that become less likely together with the rejected ones, a known failure of DPO."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW = 8
"""Steps over which metrics are averaged, since each step has different rows."""
FALL = 0.05
"""Relative fall of the chosen answers' log-probability that is reported."""


class FallWatch:
    """Takes each step's metrics and reports once when both log-probabilities have fallen.

    With a reference the fall is computed from the rewards, beta x (log-probability - the reference's), so that row
    lengths do not matter. Without one it is computed from the log-probabilities against those of the first steps.
    """

    def __init__(self, beta: float | None) -> None:
        """`beta` is that of a method with a reference; None for one without."""
        self._beta = beta
        self._first: list[tuple[float, float]] = []
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)
        self._has_reported = False

    def has_fallen(self, metrics: Mapping[str, float]) -> bool:
        """Whether this step's metrics show the fall for the first time."""
        names = ("logps/chosen", "logps/rejected")
        if self._has_reported or any(name not in metrics for name in names):
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
            initial = [sum(values) / WINDOW for values in zip(*self._first, strict=True)]
            falls = (chosen - initial[0], rejected - initial[1])
        self._recent.append((*falls, abs(chosen)))
        if len(self._recent) < WINDOW:
            return False
        fall_of_chosen, fall_of_rejected, size = (
            sum(values) / WINDOW for values in zip(*self._recent, strict=True)
        )
        self._has_reported = fall_of_chosen < -FALL * size and fall_of_rejected < 0
        return self._has_reported

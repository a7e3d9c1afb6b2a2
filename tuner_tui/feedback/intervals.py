"""Wilson intervals and the exact binomial test, without libraries."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Share(NamedTuple):
    """A share with its 95% interval."""

    share: float
    low: float
    high: float
    total: int

    def excludes(self, value: float) -> bool:
        """Whether the interval lies entirely on one side of a value."""
        return self.total > 0 and (self.low > value or self.high < value)


def wilson(successes: float, count: int, confidence: float = 0.95) -> Share:
    """A share and its Wilson score interval (Wilson 1927, without continuity correction).

    Successes may be halves: a tie is half a win for each side, which makes the interval slightly too wide.
    """
    if count == 0:
        return Share(math.nan, 0.0, 1.0, 0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / count
    scale = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    spread = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Share(share, max(0.0, centre - spread), min(1.0, centre + spread), count)


def chance(successes: int, count: int) -> float:
    """The p-value of an exact two-sided binomial test against 50 %."""
    if count == 0:
        return 1.0
    extreme = max(successes, count - successes)
    tail = sum(math.comb(count, k) for k in range(extreme, count + 1)) * 0.5**count
    return min(1.0, 2 * tail)

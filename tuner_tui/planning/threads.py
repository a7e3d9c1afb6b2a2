"""The number of threads that a worker computes with."""

from __future__ import annotations


def choose_threads(cores: int) -> tuple[int, str]:
    """The worker's threads, and the reason: one core is left for the app if there are more than two.

    On two cores both are used, since waiting threads sleep and the worker has a lower priority.
    """
    if cores <= 2:
        return cores, f"both of {cores} cores, at low priority" if cores == 2 else "one core"
    return cores - 1, f"{cores} cores, one left for the app"

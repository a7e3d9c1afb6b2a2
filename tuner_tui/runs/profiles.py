"""A run's profile on disk, and what a worker is told that makes steps for a profile alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.files import write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.profiling.profile import Profile

if TYPE_CHECKING:
    from pathlib import Path

PROFILE_FILE = "profile.json"
ORDER_FILE = "profile-order.json"
"""In the folder of a run that is made for its profile alone."""
MEASURED_STEPS, MEASURED_BATCHES = 5, 10
"""Steps that a profile measures unless another number is asked for, and micro-batches that they have together: a trace
takes some ten megabytes for each."""
WARM_UP_STEPS = 3


class ProfileOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps a worker makes for a profile before it ends."""

    warm_up: int = WARM_UP_STEPS
    """Steps before, of which the last one warms the profiler up."""
    measured: int | None = None
    """Steps that are recorded; None as `measured_steps` has it."""
    plain: int = 2
    """Steps after, without the profiler, which show what the profiler costs."""

    def steps(self, accumulation: int = 1) -> int:
        """All of them, in a run with so many micro-batches in a step."""
        return self.warm_up + (self.measured or measured_steps(accumulation)) + self.plain


def measured_steps(accumulation: int) -> int:
    """How many steps are measured, if a step has so many micro-batches."""
    return max(1, min(MEASURED_STEPS, MEASURED_BATCHES // max(1, accumulation)))


def write_profile(folder: Path, profile: Profile) -> None:
    """Write a profile to a run's folder. Raises OSError."""
    write_atomic(folder / PROFILE_FILE, msgspec.json.encode(profile))


def read_profile(folder: Path) -> Profile | None:
    """A folder's profile; None if there is no valid one."""
    try:
        return guarded.read_json(folder / PROFILE_FILE, Profile)
    except Unreadable:
        return None


def write_order(folder: Path, order: ProfileOrder) -> None:
    """Have the worker of a folder make these steps. Raises OSError."""
    write_atomic(folder / ORDER_FILE, msgspec.json.encode(order))


def read_order(folder: Path) -> ProfileOrder | None:
    """The steps to make for a profile alone; None for every other run."""
    try:
        return guarded.read_json(folder / ORDER_FILE, ProfileOrder)
    except Unreadable:
        return None

"""Which reference a run compares its model with, and how it has that one: the only place that decides it."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits

Reference = Literal["none", "adapter off", "frozen copy", "second model"]
"""None, the base with the adapter disabled, a frozen copy of the adapter that a run starts from, or the base again."""


def reference_of(method: str, tuning: str, *, is_continued: bool) -> Reference:
    """The reference of a method with a tuning; `is_continued` says that the run starts from an adapter."""
    if method_traits(method).reference == "none":
        return "none"
    fresh = tuning_traits(tuning).reference
    return "frozen copy" if is_continued and fresh == "adapter off" else fresh


def compares(method: str) -> bool:
    """Whether a method compares the model with a reference."""
    return method_traits(method).reference != "none"

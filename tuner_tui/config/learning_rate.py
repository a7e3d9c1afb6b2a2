"""The default learning rate."""

from __future__ import annotations

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits


def usual_learning_rate(method: str, tuning: str) -> float:
    """The usual learning rate for a method with a tuning."""
    return tuning_traits(tuning).learning_rate * method_traits(method).learning_rate_factor

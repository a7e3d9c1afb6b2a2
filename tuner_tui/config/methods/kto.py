"""Kahneman-Tversky optimisation: its options."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option


class KtoMethod(Section):
    """Unpaired preferences (thumbs up or down), against a frozen reference."""

    kind: Literal["kto"] = option(
        "kto",
        "Method",
        "What is optimised; kto (Kahneman-Tversky optimisation) trains on unpaired preferences.",
    )
    loss: Literal["kto", "apo_zero_unpaired"] = option(
        "kto",
        "Loss",
        "kto compares with the model's distance from the reference (its KL estimate); apo_zero_unpaired leaves "
        "that out.",
        "apo_zero_unpaired saves two passes of each step; kto is steadier.",
    )
    beta: float = option(
        0.1,
        "Beta",
        "How strongly the model is kept near the reference.",
        "Lower moves further from the reference and forgets more; 0.05 to 0.5 is usual.",
        gt=0,
        le=10,
    )
    desirable_weight: float = option(
        1.0,
        "Weight of good answers",
        "Factor of the loss of answers with thumbs up.",
        "With few good answers raise it until weight times count is similar on both sides.",
        gt=0,
        le=100,
    )
    undesirable_weight: float = option(
        1.0,
        "Weight of bad answers",
        "Factor of the loss of answers with thumbs down.",
        "With few bad answers raise it until weight times count is similar on both sides.",
        gt=0,
        le=100,
    )
    precompute_reference: bool = option(
        False,
        "Precompute reference",
        "Compute the reference's log-probabilities once, before the first step, instead of at each step.",
        "Saves about a quarter of each step's time; costs one pass over all rows first, and again at each resume. "
        "With full tuning it also saves loading a second model.",
    )

"""Odds-ratio preference optimisation: its options."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option


class OrpoMethod(Section):
    """SFT and preferences in one run, from pairs; no reference."""

    kind: Literal["orpo"] = option(
        "orpo",
        "Method",
        "What is optimised; orpo (odds-ratio preference optimisation) trains on pairs of answers.",
    )
    beta: float = option(
        0.1,
        "Beta",
        "Weight of the preference loss relative to the SFT loss on the chosen answers (the paper's lambda).",
        "Higher follows the preference more and fluency less; 0.1 to 1 is usual.",
        gt=0,
        le=10,
    )

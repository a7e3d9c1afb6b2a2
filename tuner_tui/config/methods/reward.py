"""Reward models: their options."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option


class RewardMethod(Section):
    """A model that scores answers, from pairs."""

    kind: Literal["reward"] = option("reward", "Method", "What is optimised; reward learns to score answers.")
    center_rewards: float = option(
        0.01,
        "Centring",
        "Weight of a penalty on the squared sum of a pair's scores, which centres them at zero.",
        "Keeps scores of different runs comparable; too much flattens them.",
        ge=0,
        le=1,
    )

"""AlphaPO: its options."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option
from tuner_tui.config.rule import Rule, of_method


class AlphapoMethod(Section):
    """Pairs of answers without a reference: SimPO with a configurable reward shape (AlphaPO)."""

    kind: Literal["alphapo"] = option(
        "alphapo", "Method", "What is optimised; alphapo trains on pairs of answers."
    )
    alpha: float = option(
        0.25,
        "Alpha",
        "Shape of the reward (1 - p^-alpha) / alpha, where p is the geometric mean of an answer's token "
        "probabilities; towards 0 it becomes SimPO's log-probability.",
        "Higher pushes harder on unlikely answers; 0.1 to 0.5 is usual.",
        ge=-4,
        le=4,
    )
    beta: float = option(
        2.5,
        "Beta",
        "Sharpness of the comparison.",
        "Higher separates pairs sooner and then stops pushing; 2 to 10 is usual.",
        gt=0,
        le=100,
    )
    margin: float = option(
        0.5,
        "Target margin",
        "Target reward margin (gamma): subtracted from beta times the difference of both rewards.",
        "More separates further and forgets more.",
        ge=0,
        le=100,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Assumed share of mislabeled pairs.",
        "More trusts the labels less and learns slower.",
        ge=0,
        lt=0.5,
    )


RULES = (
    Rule(
        ("method.alpha",),
        of_method(AlphapoMethod, lambda method, _: method.alpha == 0),
        "alpha 0 is SimPO itself",
        'Use method kind = "cpo" with loss = "simpo" and sft_weight = 0, or another alpha.',
    ),
)

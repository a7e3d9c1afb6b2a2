"""SimPO and CPO: their options and what cannot be combined with them."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option
from tuner_tui.config.rule import Rule, of_method


class CpoMethod(Section):
    """Pairs of answers without a reference: SimPO, or CPO."""

    kind: Literal["cpo"] = option("cpo", "Method", "What is optimised; cpo trains on pairs of answers.")
    loss: Literal["simpo", "sigmoid", "hinge", "ipo"] = option(
        "simpo",
        "Loss",
        "simpo compares mean log-probabilities per token with a target margin; sigmoid is CPO as published; hinge "
        "and ipo are its variants.",
        "simpo does not favour long answers; sigmoid does.",
    )
    beta: float = option(
        2.0,
        "Beta",
        "Sharpness of the comparison: 2 to 10 for simpo, about 0.1 for the others.",
        "Higher separates pairs sooner and then stops pushing.",
        gt=0,
        le=100,
    )
    margin: float = option(
        0.5,
        "Target margin",
        "Target reward margin (gamma), for simpo only.",
        "More separates further and forgets more.",
        ge=0,
        le=100,
    )
    sft_weight: float = option(
        1.0,
        "SFT weight",
        "Weight of the SFT loss on the chosen answers (CPO's alpha); 0 is SimPO as published.",
        "There is no reference: without this the model may drift far.",
        ge=0,
        le=10,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Assumed share of mislabeled pairs, for simpo and sigmoid.",
        "More trusts the labels less and learns slower.",
        ge=0,
        lt=0.5,
    )


RULES = (
    Rule(
        ("method.label_smoothing", "method.loss"),
        of_method(
            CpoMethod,
            lambda method, _: method.label_smoothing > 0 and method.loss not in ("simpo", "sigmoid"),
        ),
        "this loss does not use label smoothing, so it would change nothing",
        "Set it to 0, or use a loss that does: simpo or sigmoid.",
    ),
)

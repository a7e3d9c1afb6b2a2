"""Direct preference optimisation: its options and what cannot be combined with them."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option
from tuner_tui.config.rule import Rule, of_method

DpoLoss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "ipo",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
]


class DpoMethod(Section):
    """Pairs of answers, compared against a frozen reference."""

    kind: Literal["dpo"] = option(
        "dpo",
        "Method",
        "What is optimised; dpo (direct preference optimisation) trains on pairs of answers.",
    )
    loss: DpoLoss = option(
        "sigmoid",
        "Loss",
        "sigmoid is DPO as published; ipo limits overfitting to the pairs; hinge stops once a pair is "
        "separated; robust and exo_pair expect some wrong labels (label_smoothing); bco_pair, nca_pair, apo_zero "
        "and apo_down also keep the chosen answers likely; the rest are TRL's further variants.",
        "sigmoid is the best tested; apo_zero is worth a try when chosen log-probabilities fall.",
    )
    beta: float = option(
        0.1,
        "Beta",
        "How strongly the model is kept near the reference; for ipo the target margin is 1 / (2 beta) per token.",
        "Lower moves further from the reference and forgets more; 0.05 to 0.5 is usual.",
        gt=0,
        le=10,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Assumed share of mislabeled pairs, for robust, exo_pair and the aot losses.",
        "More trusts the labels less and learns slower.",
        ge=0,
        lt=0.5,
    )
    sft_weight: float = option(
        0.0,
        "SFT weight",
        "Weight of the SFT loss on the chosen answers (as RPO does).",
        "Keeps chosen answers likely; too much turns it into sft.",
        ge=0,
        le=10,
    )
    precompute_reference: bool = option(
        False,
        "Precompute reference",
        "Compute the reference's log-probabilities once, before the first step, instead of at each step.",
        "Saves about a quarter of each step's time; costs one pass over all rows first, and again at each resume. "
        "With full tuning it also saves loading a second model.",
    )


SMOOTHED_LOSSES = ("robust", "exo_pair", "aot", "aot_unpaired")
"""The losses that use label smoothing."""
RULES = (
    Rule(
        ("method.label_smoothing", "method.loss"),
        of_method(
            DpoMethod, lambda method, _: method.label_smoothing > 0 and method.loss not in SMOOTHED_LOSSES
        ),
        "this loss does not use label smoothing, so it would change nothing",
        "Set it to 0, or use a loss that does: robust, exo_pair, aot or aot_unpaired.",
    ),
    Rule(
        ("method.loss", "method.label_smoothing"),
        of_method(DpoMethod, lambda method, _: method.loss == "exo_pair" and method.label_smoothing == 0),
        "exo_pair needs some label smoothing: its target is a distribution over both answers",
        "Set method.label_smoothing to a small value such as 1e-3.",
    ),
)

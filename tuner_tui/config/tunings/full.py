"""Full tuning: what cannot be combined with it."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import TuningOptions, option
from tuner_tui.config.rule import Rule, of_tuning


class FullTuning(TuningOptions):
    """All weights are trained; the result is a full model."""

    kind: Literal["full"] = option("full", "Tuning", "What is trained; full trains every weight.")


RULES = (
    Rule(
        ("model.precision", "tuning.kind"),
        of_tuning(FullTuning, lambda _, spec: spec.model.precision in ("int8", "nf4")),
        "quantised weights cannot be trained themselves, so full tuning does not work on int8 or nf4",
        'Set precision = "bf16", or tuning kind = "lora" for adapters on the quantised base.',
    ),
    Rule(
        ("model.precision", "tuning.kind"),
        of_tuning(FullTuning, lambda _, spec: spec.model.precision == "fp16"),
        "fp16 weights cannot be trained themselves: the gradient scaler does not support them",
        'Set precision = "bf16" or "fp32", or tuning kind = "lora".',
    ),
    Rule(
        ("model.adapter", "tuning.kind"),
        of_tuning(FullTuning, lambda _, spec: spec.model.adapter is not None),
        "full tuning trains the base itself and uses no adapter",
        'Set tuning kind = "lora" to continue the adapter, or remove model.adapter.',
    ),
)

"""Supervised fine-tuning: its options and what cannot be combined with them."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option
from tuner_tui.config.rule import Rule, of_method
from tuner_tui.config.tunings.traits import tuning_traits

PACKING_STRATEGY = "bfd"
"""How TRL packs rows: best fit decreasing, which keeps each row whole. Its `wrapped` would split rows and let them see
each other."""


class SftMethod(Section):
    """Supervised fine-tuning: learn to give the answers in the data."""

    kind: Literal["sft"] = option(
        "sft", "Method", "What is optimised; sft learns to give the answers in the data."
    )
    loss_on: Literal["answers", "all"] = option(
        "answers",
        "Loss on",
        "answers trains only on the assistant's turns; all trains on prompts too.",
        "all can help on plain text and teaches the model to write questions.",
    )
    packing: bool = option(
        False,
        "Packing",
        "Join short rows into full sequences. Attention keeps them apart, which is checked on the model before "
        "the first step.",
        "Much faster on short rows; a step then contains more rows. Fastest with flash_attention_2.",
    )


RULES = (
    Rule(
        ("method.packing", "tuning.kind"),
        of_method(
            SftMethod,
            lambda method, spec: method.packing and tuning_traits(spec.tuning.kind).has_virtual_tokens,
        ),
        "virtual tokens come before each row, and packed rows would have them before the first one only",
        "Set packing = false, or another tuning.",
    ),
    Rule(
        ("method.loss_on", "data.shape"),
        of_method(SftMethod, lambda method, spec: spec.data.shape == "text" and method.loss_on == "answers"),
        "plain text has no answers, so there would be nothing to train on",
        'Set method.loss_on = "all".',
    ),
)

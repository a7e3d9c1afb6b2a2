"""Supervised fine-tuning: its options and what cannot be combined with them."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.fields import Section, option
from tuner_tui.config.rule import Rule, of_method


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
        'Join short rows into full sequences. Needs attention = "flash_attention_2", which keeps rows apart.',
        "Much faster on short rows; a step then holds more rows.",
    )


RULES = (
    Rule(
        ("method.packing", "model.attention"),
        of_method(
            SftMethod, lambda method, spec: method.packing and spec.model.attention != "flash_attention_2"
        ),
        "only flash attention is sure to keep packed rows from seeing each other",
        'Set model.attention = "flash_attention_2", or packing = false.',
    ),
    Rule(
        ("method.loss_on", "data.shape"),
        of_method(SftMethod, lambda method, spec: spec.data.shape == "text" and method.loss_on == "answers"),
        "plain text has no answers, so there would be nothing to train on",
        'Set method.loss_on = "all".',
    ),
)

"""The training methods of a run spec, each with its own options, and which shapes of rows each learns from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tuner_tui.config.data_section import DataShape
from tuner_tui.config.fields import Section, option

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


class SftMethod(Section):
    """Supervised fine-tuning: learn to give the answers in the data."""

    kind: Literal["sft"] = option(
        "sft", "Method", "What is optimised; sft learns to give the answers in the data."
    )
    loss_on: Literal["answers", "all"] = option(
        "answers",
        "Loss on",
        "answers trains only what the assistant says; all trains prompts too.",
        "all can help on plain text and teaches the model to write questions.",
    )
    packing: bool = option(
        False,
        "Packing",
        'Join short rows into full sequences. Needs attention = "flash_attention_2", which keeps rows apart.',
        "Much faster on short rows; a step then holds more rows.",
    )


class DpoMethod(Section):
    """Pairs of answers, told apart against a frozen reference."""

    kind: Literal["dpo"] = option(
        "dpo",
        "Method",
        "What is optimised; dpo (direct preference optimisation) learns from pairs of answers.",
    )
    loss: DpoLoss = option(
        "sigmoid",
        "Loss",
        "sigmoid is DPO as published; ipo keeps from fitting the pairs without end; hinge stops once a pair is told "
        "apart; robust and exo_pair expect some labels to be wrong (label_smoothing); bco_pair, nca_pair, apo_zero and "
        "apo_down also hold on to how likely the chosen answers are; the rest are TRL's further variants.",
        "sigmoid is the best tried; apo_zero is worth a try when chosen log-probabilities fall.",
    )
    beta: float = option(
        0.1,
        "Beta",
        "How strongly the reference holds on; for ipo the target margin is 1 / (2 beta) a token.",
        "Lower moves further from the reference and forgets more; 0.05 to 0.5 is usual.",
        gt=0,
        le=10,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Share of pairs that are taken to be the wrong way round, for robust, exo_pair and the aot losses.",
        "More trusts the labels less and learns slower.",
        ge=0,
        lt=0.5,
    )
    sft_weight: float = option(
        0.0,
        "SFT weight",
        "Adds so much of the ordinary loss on the chosen answers (as RPO does).",
        "Keeps chosen answers likely; too much turns it into sft.",
        ge=0,
        le=10,
    )
    precompute_reference: bool = option(
        False,
        "Precompute reference",
        "Compute the reference's log-probabilities once, before the first step, in place of at each step.",
        "Saves about a quarter of each step's time; costs one pass over all rows first, and again at each resume. "
        "With full tuning it also saves holding a second model.",
    )


class CpoMethod(Section):
    """Pairs of answers without a reference: SimPO, or CPO."""

    kind: Literal["cpo"] = option("cpo", "Method", "What is optimised; cpo learns from pairs of answers.")
    loss: Literal["simpo", "sigmoid", "hinge", "ipo"] = option(
        "simpo",
        "Loss",
        "simpo compares mean log-probabilities a token with a target margin; sigmoid is CPO as published; hinge "
        "and ipo are its variants.",
        "simpo does not favour long answers; sigmoid does.",
    )
    beta: float = option(
        2.0,
        "Beta",
        "Sharpness of the comparison: 2 to 10 for simpo, about 0.1 for the others.",
        "Higher tells pairs apart sooner and then stops pushing.",
        gt=0,
        le=100,
    )
    margin: float = option(
        0.5,
        "Target margin",
        "What the chosen answer must be ahead by (simpo's gamma), for simpo only.",
        "More separates further and forgets more.",
        ge=0,
        le=100,
    )
    sft_weight: float = option(
        1.0,
        "SFT weight",
        "Adds so much of the ordinary loss on the chosen answers (CPO's alpha); 0 is SimPO as published.",
        "There is no reference to hold on to: without this the model may drift far.",
        ge=0,
        le=10,
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Share of pairs that are taken to be the wrong way round, for simpo and sigmoid.",
        "More trusts the labels less and learns slower.",
        ge=0,
        lt=0.5,
    )


class KtoMethod(Section):
    """Single answers with thumbs, against a frozen reference."""

    kind: Literal["kto"] = option(
        "kto", "Method", "What is optimised; kto (Kahneman-Tversky optimisation) learns from rated answers."
    )
    loss: Literal["kto", "apo_zero_unpaired"] = option(
        "kto",
        "Loss",
        "kto compares with how far the model has moved on the whole (its KL estimate); apo_zero_unpaired leaves "
        "that out.",
        "apo_zero_unpaired saves two passes of each step; kto is steadier.",
    )
    beta: float = option(
        0.1,
        "Beta",
        "How strongly the reference holds on.",
        "Lower moves further from the reference and forgets more; 0.05 to 0.5 is usual.",
        gt=0,
        le=10,
    )
    desirable_weight: float = option(
        1.0,
        "Weight of good answers",
        "Factor of the loss of answers with thumbs up.",
        "With few good answers raise it until weight times count is alike on both sides.",
        gt=0,
        le=100,
    )
    undesirable_weight: float = option(
        1.0,
        "Weight of bad answers",
        "Factor of the loss of answers with thumbs down.",
        "With few bad answers raise it until weight times count is alike on both sides.",
        gt=0,
        le=100,
    )
    precompute_reference: bool = option(
        False,
        "Precompute reference",
        "Compute the reference's log-probabilities once, before the first step, in place of at each step.",
        "Saves about a quarter of each step's time; costs one pass over all rows first, and again at each resume. "
        "With full tuning it also saves holding a second model.",
    )


class OrpoMethod(Section):
    """Answers and preferences in one go, from pairs; no reference."""

    kind: Literal["orpo"] = option(
        "orpo",
        "Method",
        "What is optimised; orpo (odds-ratio preference optimisation) learns from pairs of answers.",
    )
    beta: float = option(
        0.1,
        "Beta",
        "Weight of the preference beside the ordinary loss on the chosen answers (the paper's lambda).",
        "Higher follows the preference more and fluency less; 0.1 to 1 is usual.",
        gt=0,
        le=10,
    )


class RewardMethod(Section):
    """A model that scores answers, from pairs."""

    kind: Literal["reward"] = option("reward", "Method", "What is optimised; reward learns to score answers.")
    center_rewards: float = option(
        0.01,
        "Centring",
        "Pull of the scores towards zero (times the square of the pair's sum).",
        "Only keeps scores of different runs alike; too much flattens them.",
        ge=0,
        le=1,
    )


Method = Annotated[
    SftMethod | DpoMethod | CpoMethod | KtoMethod | OrpoMethod | RewardMethod, Field(discriminator="kind")
]
MethodKind = Literal["sft", "dpo", "cpo", "kto", "orpo", "reward"]
PAIR_METHODS: tuple[MethodKind, ...] = ("dpo", "cpo", "orpo", "reward")
"""Those that learn from pairs of answers."""
METHOD_SHAPES: dict[MethodKind, tuple[DataShape, ...]] = {
    "sft": ("messages", "instruction", "prompt_completion", "text"),
    **dict.fromkeys(PAIR_METHODS, ("preference",)),
    "kto": ("rated", "preference"),
}
"""What each method learns from; kto takes the sides of a pair as two rated answers."""

"""The traits of the training methods, one record each, read by planning, data, screens and the worker.

Plain data, without torch and pydantic. No other file asks for a method by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner_tui.text import listed

if TYPE_CHECKING:
    from tuner_tui.config.data_section import DataShape

MethodKind = Literal["sft", "dpo", "cpo", "kto", "orpo", "reward", "alphapo"]
RowType = Literal["examples", "pairs", "answers"]
"""What a row of the data becomes: an example to imitate, two answers to one prompt, or one answer with a label."""
LossHead = Literal["labels", "fused", "logits", "score"]
"""How the output layer is used: logits in tiles, on a CPU of tokens with loss alone; logits in tiles on each device;
full logits; or one score per sequence."""
Feedback = Literal["pairs", "rated", "demonstrations"]
"""Which annotations of a feedback collection can be trained on."""


Compared = Literal["none", "before training"]
"""What a method compares the trained model with: nothing, or the model before training."""


@dataclass(frozen=True, kw_only=True)
class MethodTraits:
    """The traits of one method. None has a default: each method decides on each."""

    title: str
    """Its usual name."""
    rows: RowType
    dataset_types: tuple[DataShape, ...]
    """The dataset types that it trains on."""
    sequences_per_row: int
    """Token sequences per row."""
    fewest_rows: int
    """Smallest micro-batch, for methods that compare its rows with each other."""
    keeps_order: bool
    """Whether the row order is the same in every epoch, so that rows cannot be grouped by length."""
    reference: Compared
    """The reference; `reference.reference_of` says how a run with this tuning has it."""
    head: LossHead
    generates: bool
    """Whether it generates answers and trains on them."""
    output: Literal["text", "scores"]
    """The trained model's output."""
    loss_on_chosen_prompt: bool
    """Whether the SFT loss on the chosen answer includes its prompt."""
    learning_rate_factor: float
    """Its usual learning rate, as a multiple of the tuning's own, which is for supervised fine-tuning."""
    feedback: Feedback | None
    metrics: tuple[str, ...]
    """Metrics that its trainer logs; `metrics.METRICS` has their titles and healthy values."""
    script_trainer: str | None
    """TRL's name of its trainer, if a train script can repeat a run: SFT for SFTTrainer and SFTConfig."""
    trained_models: int
    """Trained adapters: two for PPO, policy and value."""
    models: int
    """Models in training, besides a reference: four for PPO, which may be adapters on one base."""
    answers_in_groups: bool
    """Whether several answers are generated per prompt and compared with each other."""

    @property
    def reads_head_weights(self) -> bool:
        """Whether TRL's loss multiplies by the output layer's weights, past an adapter on that layer."""
        return self.head in ("labels", "fused")


PREFERENCE_METRICS = (
    "rewards/margins",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/rejected",
    "logps/chosen",
    "logps/rejected",
    "logits/chosen",
    "logits/rejected",
)
_WITHOUT_ACCURACY = tuple(name for name in PREFERENCE_METRICS if name != "rewards/accuracies")
TOKEN_METRICS = ("entropy", "mean_token_accuracy")

TRAITS: dict[MethodKind, MethodTraits] = {
    "sft": MethodTraits(
        title="supervised fine-tuning",
        rows="examples",
        dataset_types=("messages", "instruction", "prompt_completion", "text"),
        sequences_per_row=1,
        fewest_rows=1,
        keeps_order=False,
        reference="none",
        head="labels",
        generates=False,
        output="text",
        loss_on_chosen_prompt=False,
        learning_rate_factor=1.0,
        feedback="demonstrations",
        metrics=(*TOKEN_METRICS, "aux_loss"),
        script_trainer="SFT",
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
    "dpo": MethodTraits(
        title="DPO",
        rows="pairs",
        dataset_types=("preference",),
        sequences_per_row=2,
        fewest_rows=1,
        keeps_order=False,
        reference="before training",
        head="fused",
        generates=False,
        output="text",
        loss_on_chosen_prompt=False,
        learning_rate_factor=0.25,
        feedback="pairs",
        metrics=(*PREFERENCE_METRICS, *TOKEN_METRICS, "aux_loss"),
        script_trainer="DPO",
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
    "cpo": MethodTraits(
        title="CPO",
        rows="pairs",
        dataset_types=("preference",),
        sequences_per_row=2,
        fewest_rows=1,
        keeps_order=False,
        reference="none",
        head="logits",
        generates=False,
        output="text",
        loss_on_chosen_prompt=False,
        learning_rate_factor=0.25,
        feedback="pairs",
        metrics=(*PREFERENCE_METRICS, "nll_loss"),
        script_trainer=None,
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
    "kto": MethodTraits(
        title="KTO",
        rows="answers",
        dataset_types=("rated", "preference"),
        sequences_per_row=1,
        fewest_rows=2,
        keeps_order=True,
        reference="before training",
        head="fused",
        generates=False,
        output="text",
        loss_on_chosen_prompt=False,
        learning_rate_factor=0.25,
        feedback="rated",
        metrics=(*_WITHOUT_ACCURACY, "kl", "entropy", "aux_loss"),
        script_trainer="KTO",
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
    "orpo": MethodTraits(
        title="ORPO",
        rows="pairs",
        dataset_types=("preference",),
        sequences_per_row=2,
        fewest_rows=1,
        keeps_order=False,
        reference="none",
        head="logits",
        generates=False,
        output="text",
        loss_on_chosen_prompt=True,
        learning_rate_factor=0.5,
        feedback="pairs",
        metrics=(*PREFERENCE_METRICS, "log_odds_chosen", "log_odds_ratio", "nll_loss"),
        script_trainer=None,
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
    "reward": MethodTraits(
        title="reward models",
        rows="pairs",
        dataset_types=("preference",),
        sequences_per_row=2,
        fewest_rows=1,
        keeps_order=False,
        reference="none",
        head="score",
        generates=False,
        output="scores",
        loss_on_chosen_prompt=False,
        learning_rate_factor=0.5,
        feedback="pairs",
        metrics=("accuracy", "margin", "mean_reward", "min_reward", "max_reward"),
        script_trainer="Reward",
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
    "alphapo": MethodTraits(
        title="AlphaPO",
        rows="pairs",
        dataset_types=("preference",),
        sequences_per_row=2,
        fewest_rows=1,
        keeps_order=False,
        reference="none",
        head="logits",
        generates=False,
        output="text",
        loss_on_chosen_prompt=False,
        learning_rate_factor=0.25,
        feedback="pairs",
        metrics=(*PREFERENCE_METRICS, "nll_loss"),
        script_trainer=None,
        trained_models=1,
        models=1,
        answers_in_groups=False,
    ),
}
"""The methods that run.toml can name."""

_ESTIMATED: dict[str, MethodTraits] = {
    kind: MethodTraits(
        title=kind.upper(),
        rows="examples",
        dataset_types=("prompts",),
        sequences_per_row=1,
        fewest_rows=1,
        keeps_order=False,
        reference="before training",
        head="fused",
        generates=True,
        output="text",
        loss_on_chosen_prompt=False,
        learning_rate_factor=1.0,
        feedback=None,
        metrics=(),
        script_trainer=None,
        trained_models=2 if kind == "ppo" else 1,
        models=4 if kind == "ppo" else 1,
        answers_in_groups=kind != "ppo",
    )
    for kind in ("grpo", "rloo", "ppo")
}
"""Methods whose memory can be estimated, but which cannot be run yet."""


_ALL: dict[str, MethodTraits] = {**{str(kind): traits for kind, traits in TRAITS.items()}, **_ESTIMATED}
DEFAULT_METHOD: MethodKind = "sft"
"""The default method."""


def method_traits(kind: str) -> MethodTraits:
    """The traits of a method. Raises KeyError for an unknown one."""
    return _ALL[kind]


def trained_with(feedback: Feedback) -> str:
    """The methods that train on a kind of annotation, such as "DPO and ORPO"."""
    return listed([traits.title for traits in TRAITS.values() if traits.feedback == feedback])

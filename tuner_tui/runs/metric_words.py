"""What each method's own figures mean and what they look like when all is well: one table for screens and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class MetricWords:
    """One figure's title and a line on what is healthy."""

    title: str
    healthy: str


WORDS: dict[str, MetricWords] = {
    "rewards/margins": MetricWords(
        "margin", "Grows from 0 and levels off; soaring while held-out accuracy stands still is overfitting."
    ),
    "rewards/accuracies": MetricWords(
        "accuracy",
        "Rises above 0.6 within an epoch. At 1.0 on trained pairs it proves nothing: look at held-out pairs.",
    ),
    "rewards/chosen": MetricWords(
        "reward of chosen",
        "Rises, or stays near where it began; falling means that good answers become unlikely, too.",
    ),
    "rewards/rejected": MetricWords("reward of rejected", "Falls, a few units at most."),
    "logps/chosen": MetricWords(
        "log-prob. of chosen",
        "Stays near where it began; a fall of more than some 5 % of it costs fluency.",
    ),
    "logps/rejected": MetricWords(
        "log-prob. of rejected", "Falls slowly; a plunge means that the model unlearns more than the rule."
    ),
    "kl": MetricWords(
        "KL", "How far the model has moved, in nats an answer: small, below some 10; a steady climb forgets."
    ),
    "log_odds_chosen": MetricWords(
        "log odds",
        "Of chosen over rejected: rises above 0 and goes on slowly; below 0 the rejected ones still win.",
    ),
    "log_odds_ratio": MetricWords("log odds ratio", "Negative, and rises towards 0."),
    "nll_loss": MetricWords(
        "loss on chosen", "Falls as in sft; rising means that the preference pulls too hard."
    ),
    "accuracy": MetricWords(
        "accuracy",
        "Pairs in the right order: rises above 0.7. On held-out pairs it is the figure to trust; 0.5 is guessing.",
    ),
    "margin": MetricWords("margin", "How far the scores of a pair lie apart: grows from 0 to some units."),
    "mean_reward": MetricWords(
        "mean score", "Stays near 0 with centring; a drift matters only between runs."
    ),
    "min_reward": MetricWords(
        "lowest score", "A few units below the mean; far outliers are rows to look at."
    ),
    "max_reward": MetricWords(
        "highest score", "A few units above the mean; far outliers are rows to look at."
    ),
    "entropy": MetricWords(
        "entropy",
        "How open the next word is, in nats: falls slowly; a plunge to near 0 is a model that repeats itself.",
    ),
    "mean_token_accuracy": MetricWords(
        "token accuracy", "How often the answer's next token is the likeliest: rises slowly."
    ),
    "logits/chosen": MetricWords("logits of chosen", "Drift slowly; only a sudden jump matters."),
    "logits/rejected": MetricWords("logits of rejected", "Drift slowly; only a sudden jump matters."),
    "aux_loss": MetricWords("balance of experts", "Stays flat."),
}
"""By the trainers' names, in the order in which they are shown."""


LEADING = ("rewards/margins", "rewards/accuracies", "kl", "margin", "accuracy")
"""Those that a line with little room shows."""


def leading(metrics: Mapping[str, float]) -> list[tuple[MetricWords, float]]:
    """The few figures that say most about how a method goes."""
    return [(WORDS[name], metrics[name]) for name in LEADING if name in metrics]


def told(metrics: Mapping[str, float]) -> list[tuple[MetricWords, float]]:
    """Figures with their words, in the table's order; those without words come last, by their own name."""
    found = [(words, metrics[name]) for name, words in WORDS.items() if name in metrics]
    return found + [(MetricWords(name, ""), metrics[name]) for name in unknown(metrics)]


def unknown(names: Iterable[str]) -> list[str]:
    """Names that the table does not know."""
    return [name for name in names if name not in WORDS]

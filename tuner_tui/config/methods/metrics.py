"""The metrics that trainers log, by name: a title and what is healthy, in the order in which they are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric of a trainer."""

    name: str
    """What the trainer logs it as."""
    title: str
    healthy: str
    """A line on what it looks like when all is well."""
    is_leading: bool = False
    """Whether a line with little room shows it."""


METRICS: tuple[Metric, ...] = (
    Metric(
        "rewards/margins",
        "margin",
        "Grows from 0 and levels off; soaring while held-out accuracy stands still is overfitting.",
        is_leading=True,
    ),
    Metric(
        "rewards/accuracies",
        "accuracy",
        "Rises above 0.6 within an epoch. At 1.0 on trained pairs it proves nothing: look at held-out pairs.",
        is_leading=True,
    ),
    Metric(
        "rewards/chosen",
        "reward of chosen",
        "Rises, or stays near where it began; falling means that good answers become unlikely, too.",
    ),
    Metric("rewards/rejected", "reward of rejected", "Falls, a few units at most."),
    Metric(
        "logps/chosen",
        "log-prob. of chosen",
        "Stays near where it began; a fall of more than some 5 % of it costs fluency.",
    ),
    Metric(
        "logps/rejected",
        "log-prob. of rejected",
        "Falls slowly; a plunge means that the model unlearns more than the rule.",
    ),
    Metric(
        "kl",
        "KL",
        "How far the model has moved, in nats an answer: small, below some 10; a steady climb forgets.",
        is_leading=True,
    ),
    Metric(
        "log_odds_chosen",
        "log odds",
        "Of chosen over rejected: rises above 0 and goes on slowly; below 0 the rejected ones still win.",
    ),
    Metric("log_odds_ratio", "log odds ratio", "Negative, and rises towards 0."),
    Metric("nll_loss", "loss on chosen", "Falls as in sft; rising means that the preference pulls too hard."),
    Metric(
        "margin",
        "margin",
        "How far the scores of a pair lie apart: grows from 0 to some units.",
        is_leading=True,
    ),
    Metric(
        "accuracy",
        "accuracy",
        "Pairs in the right order: rises above 0.7. On held-out pairs it is the figure to trust; 0.5 is guessing.",
        is_leading=True,
    ),
    Metric("mean_reward", "mean score", "Stays near 0 with centring; a drift matters only between runs."),
    Metric("min_reward", "lowest score", "A few units below the mean; far outliers are rows to look at."),
    Metric("max_reward", "highest score", "A few units above the mean; far outliers are rows to look at."),
    Metric(
        "entropy",
        "entropy",
        "How open the next word is, in nats: falls slowly; a plunge to near 0 is a model that repeats itself.",
    ),
    Metric(
        "mean_token_accuracy",
        "token accuracy",
        "How often the answer's next token is the likeliest: rises slowly.",
    ),
    Metric("logits/chosen", "logits of chosen", "Drift slowly; only a sudden jump matters."),
    Metric("logits/rejected", "logits of rejected", "Drift slowly; only a sudden jump matters."),
    Metric("aux_loss", "balance of experts", "Stays flat."),
)

"""The metrics that trainers log, by name: titles and healthy values, in display order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric of a trainer."""

    name: str
    """The trainer's name of it."""
    title: str
    healthy: str
    """One line about healthy values."""
    is_leading: bool = False
    """Whether it is shown where space is limited."""


METRICS: tuple[Metric, ...] = (
    Metric(
        "rewards/margins",
        "margin",
        "Grows from 0 and levels off; rising fast while held-out accuracy stalls is overfitting.",
        is_leading=True,
    ),
    Metric(
        "rewards/accuracies",
        "accuracy",
        "Rises above 0.6 within an epoch. 1.0 on training pairs says little: look at held-out pairs.",
        is_leading=True,
    ),
    Metric(
        "rewards/chosen",
        "reward of chosen",
        "Rises, or stays near where it began; falling means that good answers become less likely, too.",
    ),
    Metric("rewards/rejected", "reward of rejected", "Falls, a few units at most."),
    Metric(
        "logps/chosen",
        "log-prob. of chosen",
        "Stays near where it began; a fall of more than about 5 % costs fluency.",
    ),
    Metric(
        "logps/rejected",
        "log-prob. of rejected",
        "Falls slowly; a sharp drop means that the model forgets too much.",
    ),
    Metric(
        "kl",
        "KL",
        "Distance from the reference, in nats per answer: small, below about 10; a steady rise means forgetting.",
        is_leading=True,
    ),
    Metric(
        "log_odds_chosen",
        "log odds",
        "Log odds of chosen over rejected: rises above 0, then slowly further; below 0 rejected "
        "answers are still more likely.",
    ),
    Metric("log_odds_ratio", "log odds ratio", "Negative, and rises towards 0."),
    Metric(
        "nll_loss", "loss on chosen", "Falls as in sft; rising means that the preference weight is too high."
    ),
    Metric(
        "margin",
        "margin",
        "Difference of a pair's scores: grows from 0 to a few units.",
        is_leading=True,
    ),
    Metric(
        "accuracy",
        "accuracy",
        "Pairs in the right order: rises above 0.7. On held-out pairs it is the number to trust; 0.5 is guessing.",
        is_leading=True,
    ),
    Metric("mean_reward", "mean score", "Stays near 0 with centring; a drift matters only between runs."),
    Metric("min_reward", "lowest score", "A few units below the mean; far outliers are rows to look at."),
    Metric("max_reward", "highest score", "A few units above the mean; far outliers are rows to look at."),
    Metric(
        "entropy",
        "entropy",
        "Uncertainty of the next token, in nats: falls slowly; a drop to near 0 means that the model repeats itself.",
    ),
    Metric(
        "mean_token_accuracy",
        "token accuracy",
        "Share of the answer's tokens that the model ranks first: rises slowly.",
    ),
    Metric("logits/chosen", "logits of chosen", "Drift slowly; only a sudden jump matters."),
    Metric("logits/rejected", "logits of rejected", "Drift slowly; only a sudden jump matters."),
    Metric("aux_loss", "balance of experts", "Stays flat."),
)

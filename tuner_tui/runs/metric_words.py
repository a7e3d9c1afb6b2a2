"""What the metrics of the methods mean, with their values, for screens and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.config.methods.metrics import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORDS: dict[str, Metric] = {metric.name: metric for metric in METRICS}
"""By the trainers' names, in the order in which they are shown."""


def leading(metrics: Mapping[str, float]) -> list[tuple[Metric, float]]:
    """The few metrics that say most about how a method goes."""
    return [(words, metrics[name]) for name, words in WORDS.items() if words.is_leading and name in metrics]


def told(metrics: Mapping[str, float]) -> list[tuple[Metric, float]]:
    """Metrics with their words, in the table's order; those without words come last, by their own name."""
    known = [(words, metrics[name]) for name, words in WORDS.items() if name in metrics]
    return known + [(Metric(name, name, ""), metrics[name]) for name in unknown(metrics)]


def unknown(names: Iterable[str]) -> list[str]:
    """Names that the table does not know."""
    return [name for name in names if name not in WORDS]

"""Titles and explanations of metrics with their values, for screens and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.config.methods.metrics import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORDS: dict[str, Metric] = {metric.name: metric for metric in METRICS}
"""Metrics by the trainers' names, in display order."""


def leading(metrics: Mapping[str, float]) -> list[tuple[Metric, float]]:
    """The most informative metrics of a method."""
    return [(words, metrics[name]) for name, words in WORDS.items() if words.is_leading and name in metrics]


def told(metrics: Mapping[str, float]) -> list[tuple[Metric, float]]:
    """Metrics with titles, in the table's order; unknown ones come last, under their own name."""
    known = [(words, metrics[name]) for name, words in WORDS.items() if name in metrics]
    return known + [(Metric(name, name, ""), metrics[name]) for name in unknown(metrics)]


def unknown(names: Iterable[str]) -> list[str]:
    """Metric names that are not in the table."""
    return [name for name in names if name not in WORDS]

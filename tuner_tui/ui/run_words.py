"""Runs in a few words and characters: status, progress, loss over time, and when."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

from tuner_tui.text import duration, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.runs.status import Status
    from tuner_tui.runs.summary import RunSummary

MARKS: dict[Status, tuple[str, str]] = {
    "queued": ("○", "secondary"),
    "starting": ("○", "primary"),
    "running": ("●", "primary"),
    "finished": ("✓", "success"),
    "paused": ("‖", "warning"),
    "stopped": ("■", "warning"),
    "failed": ("✗", "error"),
    "interrupted": ("!", "warning"),
}
"""Each status has its own character and theme colour; the word is always beside them."""

BARS = "▁▂▃▄▅▆▇█"
DAY = 86400


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as a row of at most `width` small bars."""
    if not values or width <= 0:
        return ""
    if len(values) > width:
        edges = [len(values) * cell // width for cell in range(width + 1)]
        parts = [values[start:end] for start, end in pairwise(edges)]
        values = [sum(part) / len(part) for part in parts]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def progress_bar(share: float, width: int) -> tuple[str, str]:
    """The filled and the empty part of a progress bar."""
    done = min(width, max(0, round(share * width)))
    return "━" * done, "─" * (width - done)


def progress_words(summary: RunSummary) -> str:
    """Steps done of all, or why there are none."""
    return f"{summary.step}/{summary.total_steps}" if summary.total_steps else ""


def loss_words(summary: RunSummary) -> str:
    """The last loss, empty before the first step."""
    return number(summary.loss) if summary.step and summary.total_steps else ""


def model_words(summary: RunSummary) -> str:
    """The model without its folders or its owner on the Hub."""
    return (summary.model or "").rstrip("/").rpartition("/")[2]


def when_words(summary: RunSummary, now: float) -> str:
    """The time left of a live run; how long ago others ended."""
    if summary.is_live:
        return f"{rough(summary.seconds_left)} left" if summary.seconds_left is not None else ""
    moment = summary.ended_at or summary.started_at
    return ago(moment, now) if moment else ""


def took_words(summary: RunSummary, now: float) -> str:
    """How long a run has taken so far, or took, without pauses."""
    if summary.started_at is None:
        return ""
    end = summary.ended_at or (now if summary.is_live else None)
    return duration(end - summary.started_at - summary.idle_seconds) if end else ""


def rough(seconds: float) -> str:
    """One unit is enough: 40 s, 8 min, 3 h, 2 d."""
    for unit, scale in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * scale:
            return f"{seconds / scale:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def ago(moment: float, now: float) -> str:
    """How long ago, or the day when that is long."""
    passed = now - moment
    if passed < 7 * DAY:
        return f"{rough(passed)} ago"
    return time.strftime("%d %b %Y", time.localtime(moment))

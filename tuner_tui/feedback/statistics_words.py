"""Annotator statistics as lines of text, for the screen and the command."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.feedback.intervals import Share
    from tuner_tui.feedback.session import Progress
    from tuner_tui.feedback.statistics import AnnotatorStatistics, Bias

NAME_CELLS = 24
WIDTH = 66
_RUN_ADAPTER = re.compile(r"/.*?/runs/([^/]+)/adapter(?= |$)")


def statistics_lines(statistics: AnnotatorStatistics, progress: Progress | None = None) -> list[str]:
    """All figures, then remarks on them."""
    pending = f", {progress.ready} ready, {progress.waiting} without answers" if progress else ""
    pace = (
        "not measured"
        if statistics.seconds is None
        else f"{statistics.seconds:.1f} s per annotation (median)"
    )
    rows = [
        ("annotated", f"{statistics.annotations}{pending}"),
        ("preferences, ties", f"{statistics.preferences}, {statistics.ties}"),
        ("skipped, undone", f"{statistics.set_aside}, {statistics.undone}"),
        *([("imported", f"{statistics.imported} preferences")] if statistics.imported else []),
        ("pace", pace),
        ("first position chosen", _bias(statistics.position)),
        ("longer answer chosen", _bias(statistics.length)),
        ("self-agreement", share_words(statistics.agreement)),
    ]
    if statistics.proposals:
        rows.append(
            (
                "judge model's proposals",
                f"{statistics.proposals}; accepted {statistics.accepted}, overruled {statistics.overruled}",
            )
        )
    lines = [f"{name:<{NAME_CELLS}}{value}" for name, value in rows]
    for rate in statistics.win_rates:
        lines += textwrap.wrap(
            f"{side_words(rate.side)} against {side_words(rate.against)}:", WIDTH, break_long_words=False
        )
        lines.append(
            f"  wins {share_words(rate.share)}; {rate.wins} won, {rate.losses} lost, {rate.ties} tied"
        )
    lines.append("")
    for remark in statistics.remarks():
        lines += textwrap.wrap(remark, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return lines


def side_words(side: str) -> str:
    """A side, with the run's name instead of the adapter's folder."""
    return _RUN_ADAPTER.sub(r"\1", side)


def share_words(share: Share) -> str:
    """A share with its interval and sample size."""
    if not share.total:
        return "not measured yet"
    return f"{share.share:.0%} of {share.total} (95% interval {share.low:.0%} to {share.high:.0%})"


def _bias(bias: Bias) -> str:
    return f"{share_words(bias.share)}, bias: {bias.verdict}" if bias.share.total else "not measured yet"

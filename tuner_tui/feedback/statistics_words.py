"""The rater's mirror in lines of text, for the screen and the command alike."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.feedback.intervals import Share
    from tuner_tui.feedback.session import Standing
    from tuner_tui.feedback.statistics import Bias, Mirror

NAME_CELLS = 24
WIDTH = 66
_RUN_ADAPTER = re.compile(r"/.*?/runs/([^/]+)/adapter(?= |$)")


def mirror_lines(seen: Mirror, standing: Standing | None = None) -> list[str]:
    """All figures, then what they mean."""
    left = f", {standing.ready} ready, {standing.waiting} to come" if standing else ""
    pace = "not measured" if seen.seconds is None else f"{seen.seconds:.1f} s a judgement (median)"
    rows = [
        ("judged", f"{seen.kept}{left}"),
        ("preferences, ties", f"{seen.preferences}, {seen.ties}"),
        ("passed over, taken back", f"{seen.set_aside}, {seen.undone}"),
        *([("imported", f"{seen.imported} preferences")] if seen.imported else []),
        ("pace", pace),
        ("first place chosen", _bias(seen.position)),
        ("longer answer chosen", _bias(seen.length)),
        ("same choice again", share_words(seen.agreement)),
    ]
    if seen.proposals:
        rows.append(
            ("judge's proposals", f"{seen.proposals}; accepted {seen.accepted}, overruled {seen.overruled}")
        )
    lines = [f"{name:<{NAME_CELLS}}{value}" for name, value in rows]
    for rate in seen.win_rates:
        lines += textwrap.wrap(
            f"{side_words(rate.side)} against {side_words(rate.against)}:", WIDTH, break_long_words=False
        )
        lines.append(
            f"  wins {share_words(rate.share)}; {rate.wins} won, {rate.losses} lost, {rate.ties} tied"
        )
    lines.append("")
    for remark in seen.remarks():
        lines += textwrap.wrap(remark, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return lines


def side_words(side: str) -> str:
    """A side with its run's name in the place of the adapter's folder."""
    return _RUN_ADAPTER.sub(r"\1", side)


def share_words(share: Share) -> str:
    """A share with its interval and how many it is of."""
    if not share.total:
        return "not measured yet"
    return f"{share.share:.0%} of {share.total} (95 %: {share.low:.0%} to {share.high:.0%})"


def _bias(bias: Bias) -> str:
    return f"{share_words(bias.share)}, bias: {bias.verdict}" if bias.share.total else "not measured yet"

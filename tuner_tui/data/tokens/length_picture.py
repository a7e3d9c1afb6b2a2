"""A data set's lengths drawn in characters, with the limit, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.data.tokens.lengths import LengthReport


def length_lines(lengths: LengthReport, width: int = 40) -> list[str]:
    """Title, histogram, and what it means."""
    return [
        length_title(lengths),
        *length_bars(lengths, width),
        *(f"  {line}" for line in length_words(lengths)),
    ]


def length_title(lengths: LengthReport) -> str:
    """What was measured."""
    drawn = "a sample of " if lengths.is_sample else ""
    return f"Tokens of {drawn}{counted(lengths.rows, 'sequence')} (median {lengths.median}, longest {lengths.longest})"


def length_bars(lengths: LengthReport, width: int = 40, mark: str = "#") -> list[str]:
    """Sequences by their tokens, one bin a line under its upper bound, with the limit drawn in; bars are of `mark`."""
    most = max(count for _, count in lengths.histogram) or 1
    lines = []
    is_drawn = False
    for bound, count in lengths.histogram:
        if not is_drawn and bound > lengths.limit:
            lines.append(f"{'limit':>8} {lengths.limit} {'-' * (width - 5)}")
            is_drawn = True
        bar = mark * max(round(width * count / most), bool(count))
        lines.append(f"{bound:>8} {bar}{' ' if count else ''}{count or ''}".rstrip())
    return lines


def length_words(lengths: LengthReport) -> list[str]:
    """What the limit cuts, what padding wastes, and which limit would do."""
    lost = f", and {counted(lengths.answers_lost, 'complete answer')}" if lengths.answers_lost else ""
    cut = f"truncated: {lengths.answer_share_cut:.1%} of the answers' tokens{lost}"
    grouped = f"grouped by length: {lengths.padding_waste_grouped:.0%}; packed: none"
    return [
        f"over {counted(lengths.limit, 'token')}: {lengths.over:,}; {cut}",
        f"padding in batches of 8: {lengths.padding_waste:.0%}; {grouped}",
        f"suggested limit: {lengths.usual_limit}; {_truncated(lengths.over_usual, lengths.rows)}",
    ]


def _truncated(count: int, rows: int) -> str:
    """How many sequences a limit truncates, and their share."""
    if not count:
        return "it truncates none"
    return f"it truncates {count:,} of {counted(rows, 'sequence')} ({count / rows:.1%})"

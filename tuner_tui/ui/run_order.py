"""Which runs a list shows, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.ui import run_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.notes import Note
    from tuner_tui.runs.summary import RunSummary

SORTED_BY: dict[str, Callable[[RunSummary], float | str | None]] = {
    "loss": lambda summary: summary.loss,
    "method": lambda summary: summary.method or None,
    "model": lambda summary: run_words.model_words(summary).lower() or None,
    "status": lambda summary: summary.status,
}
"""The columns by which runs can be sorted, and the value of each."""
ORDERS = ("", *SORTED_BY)
"""Empty for the newest first."""


def next_order(order: str) -> str:
    """The order after this one."""
    return ORDERS[(ORDERS.index(order) + 1) % len(ORDERS)]


def shown_runs(
    folders: Sequence[RunFolder],
    summaries: Mapping[str, RunSummary],
    notes: Mapping[str, Note],
    sought: str,
    order: str,
) -> tuple[RunFolder, ...]:
    """The runs that have the sought words, sorted; runs without a value come last, the newest first among equals."""
    matching = list(folders)
    if words := sought.lower().split():
        from tuner_tui.runs.notes import Note, fits

        matching = [
            folder
            for folder in folders
            if fits(words, shown_text(folder, summaries.get(folder.name)), notes.get(folder.name, Note()))
        ]
    if order:

        def rank(folder: RunFolder) -> tuple[bool, float | str]:
            known = summaries.get(folder.name)
            value = None if known is None else SORTED_BY[order](known)
            return value is None, "" if value is None else value

        matching.sort(key=rank)
    return tuple(matching)


def shown_text(folder: RunFolder, summary: RunSummary | None) -> str:
    """Everything that a list shows of a run, but its times."""
    if summary is None:
        return folder.name
    figures = (run_words.progress_words(summary), run_words.loss_words(summary))
    return " ".join((folder.name, summary.words, *figures))

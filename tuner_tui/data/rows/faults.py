"""What is wrong with a row, before its reader adds file and line; and rows that are right, and of no use for a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tuner_tui.errors import InputError

Reason = Literal["tie", "both bad", "not annotated", "without an answer"]
"""Why a row prefers no answer."""


_PLURALS: dict[str, str] = {"tie": "ties"}


def left_out_words(counts: Mapping[str, int]) -> str:
    """Rows by reason, such as "2 ties, 1 both bad"."""
    return ", ".join(
        f"{count:,} {_PLURALS.get(reason, reason) if count > 1 else reason}"
        for reason, count in counts.items()
    )


class RowFault(ValueError):
    """What is wrong with a row; its reader adds file and line."""

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.title, self.message, self.hint = title, message, hint


class NothingPreferred(RowFault):
    """A row that is understood, and in which no answer is preferred to another."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__("No answer is preferred", message, "Pairs are made of the other rows.")
        self.reason: Reason = reason


class LeftOut(InputError):
    """The same with file and line, in the row's place: it is counted and left out, and stops nothing."""

    def __init__(self, fault: NothingPreferred, where: str) -> None:
        super().__init__(fault.title, f"{where}: {fault.message}", fault.hint)
        self.reason: Reason = fault.reason

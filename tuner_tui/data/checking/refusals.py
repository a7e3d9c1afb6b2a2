"""Rows that are read, and then refused by training: with the very errors that it would raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.checking.problems import DataProblem, Tally

if TYPE_CHECKING:
    from tuner_tui.data.rows.for_method import OtherMethod
    from tuner_tui.errors import InputError

ADVICE = "Fix these rows, or leave them out."
MERGE = "Merge the system prompt into the first user turn."


class Refusals:
    """Refused rows by the reason."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str | None], tuple[Tally, str]] = {}

    def add(self, row: str, place: str, error: InputError, fix: str | None = None) -> None:
        """Count a row; `place` names it, and the error's message begins with it; `fix` merges its system prompt."""
        tally, _ = self._tallies.setdefault(
            (error.title, fix), (Tally(), MERGE if fix else error.hint or ADVICE)
        )
        tally.add(row, error.message.removeprefix(f"{place}: "))

    @property
    def problems(self) -> list[DataProblem]:
        """One a reason."""
        return [
            DataProblem(
                "error",
                f"refused ({title[0].lower()}{title[1:]})",
                tally.count,
                tuple(tally.rows),
                tally.detail.removesuffix("."),
                advice,
                fix,
            )
            for (title, fix), (tally, advice) in self._tallies.items()
        ]


def of_other_type(error: OtherMethod, rows: int) -> DataProblem:
    """The problem of rows that another method trains on."""
    title = f"{error.title[0].lower()}{error.title[1:]}"
    return DataProblem("error", "of another type", rows, (), title, error.hint)

"""Whether a collection is complete and readable: its file, its last good copy, and every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui.errors import NotFoundError, TunerError
from tuner_tui.feedback.collections import collection_path, open_collection
from tuner_tui.feedback.integrity import annotations_in, copy_path
from tuner_tui.feedback.records import RowProblem
from tuner_tui.text import counted, plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NAMED = 5


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of checking a collection."""

    name: str
    judged: int | None
    """Readable annotations; None when the collection cannot be opened."""
    problem: str = ""
    """Why it cannot be opened."""
    hint: str = ""
    rows: tuple[RowProblem, ...] = ()
    """Rows that cannot be read."""
    copy: str = ""
    """Where its last good copy lies."""
    copy_judged: int | None = None
    """Annotations in that copy; None when there is none, or it is damaged."""

    @property
    def is_sound(self) -> bool:
        """Whether everything can be read."""
        return not self.problem and not self.rows

    def lines(self) -> list[str]:
        """The report for a person."""
        lines = [
            f"{self.name}: {self.problem}" if self.problem else f"{self.name}: {self.judged} annotations"
        ]
        lines += [self.hint] if self.hint else []
        if self.rows:
            lines.append(
                f"{counted(len(self.rows), 'row')} cannot be read and "
                f"{'stays as it is' if len(self.rows) == 1 else 'stay as they are'}:"
            )
            lines += [f"  {row}" for row in self.rows]
        elif not self.problem:
            lines.append("every row can be read")
        copied = "none" if self.copy_judged is None else f"{self.copy_judged} annotations, {self.copy}"
        return [*lines, f"last good copy: {copied}"]


def check_collection(name: str) -> CheckReport:
    """Check all of a collection. Raises InputError and NotFoundError for a name; other problems are in the report."""
    path = collection_path(name)
    copy = copy_path(path)
    copy_judged = annotations_in(copy)
    try:
        with open_collection(name) as store:
            rows, judged = store.contents().problems, store.annotation_count()
            store.settings()
            return CheckReport(name=name, judged=judged, rows=rows, copy=str(copy), copy_judged=copy_judged)
    except NotFoundError:
        raise
    except TunerError as error:
        return CheckReport(
            name=name,
            judged=None,
            problem=f"{error.title}. {error.message}",
            hint=error.hint,
            copy=str(copy),
            copy_judged=copy_judged,
        )


def left_out_lines(name: str, problems: Sequence[RowProblem]) -> list[str]:
    """What of a collection is in no figure and no row because it cannot be read; empty when all can."""
    if not problems:
        return []
    return [
        f"{counted(len(problems), 'row')} of {name} cannot be read and {'is' if len(problems) == 1 else 'are'} "
        "left out:",
        *(f"  {plain(str(problem))}" for problem in problems[:MOST_NAMED]),
        f"Nothing of them is changed. See all: {shell_command('feedback check', name)}",
    ]

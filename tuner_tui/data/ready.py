"""Whether a data set's rows can be trained on as they are: what the check calls an error is refused before a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.checking.problems import DataProblem
    from tuner_tui.data.recognition.reading import Reading


class RefusedRows(InputError):
    """Rows that can be read and are not fit to be trained on."""


def refused_rows(reading: Reading, evaluation: Reading | None, method: MethodKind) -> RefusedRows | None:
    """The first error that `data check` finds, as a refusal; None where there is none. Raises as `check` does."""
    from tuner_tui.data.checking.checks import check

    report = check(reading, evaluation, method=method)
    errors = [problem for problem in report.problems if problem.level == "error"]
    if not errors:
        return None
    more = (
        f" There {'is 1 error' if len(errors) == 2 else f'are {len(errors) - 1} errors'} more."
        if errors[1:]
        else ""
    )
    return RefusedRows(f"{reading}: {errors[0].kind}", f"{_words(errors[0])}{more}", _hint(errors[0]))


def _words(problem: DataProblem) -> str:
    rows = (
        f" ({', '.join(problem.rows)}{', ...' if problem.count > len(problem.rows) else ''})"
        if problem.rows
        else ""
    )
    return f"{counted(problem.count, 'row')}{rows}: {problem.message or problem.kind}."


def _hint(problem: DataProblem) -> str:
    fix = (
        f" The fix {problem.fix} in data.fixes does it while reading; the file stays as it is."
        if problem.fix
        else ""
    )
    return f"{problem.advice.rstrip('.')}.{fix} `data check` lists all."

"""What a model's chat template and tokenizer make of a data set's rows: what they leave out, refuse and truncate."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui.data.checking.problems import LEVELS, DataProblem, Level, Tally, row_name
from tuner_tui.data.checking.refusals import Refusals
from tuner_tui.data.tokens.conversations import conversations_in
from tuner_tui.data.tokens.left_out import FIELDS_HINT, PARTS_HINT, left_out_words, no_place_words
from tuner_tui.data.tokens.lengths import report as length_report
from tuner_tui.data.tokens.merged import KIND, KINDS, WHAT, merge_hint
from tuner_tui.data.tokens.template import MERGE_HINT
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tuner_tui.data.checking.report import DataReport
    from tuner_tui.data.files.rows import Found
    from tuner_tui.data.tokens.lengths import LengthReport, RowLength
    from tuner_tui.data.tokens.template import ModelText
    from tuner_tui.data.tokens.text_child import Conversation

NOTED_SHARE = 0.01
"""Share of the answers' tokens up to which cutting them off is only a note."""
LEFT_OUT = "not rendered in full"
NO_PLACE = "with fields that are not rendered"
NO_END = "answers without an EOS token"
END_HINT = "Use a template that ends every answer with the EOS token"


@dataclass(frozen=True)
class ModelLook:
    """What a model makes of the rows."""

    problems: tuple[DataProblem, ...]
    lengths: LengthReport | None
    """None where the template refuses every row."""

    def added_to(self, report: DataReport) -> DataReport:
        """A report with these problems among its own, errors first."""
        problems = sorted((*report.problems, *self.problems), key=lambda each: LEVELS.index(each.level))
        return replace(report, problems=tuple(problems))


def look_with_model(
    report: DataReport,
    text: ModelText,
    limit: int,
    *,
    loss_on: Literal["answers", "all"] = "answers",
    allowed: Collection[str] = (),
) -> ModelLook:
    """Render the rows that a check chose, and count the tokens of its sample against a length limit.

    `allowed` are the names of findings that training continues with. Raises InputError where the model has no chat
    template for rows of turns, or its tokenizer cannot be read.
    """
    problems, refused = _template_problems(report, text, loss_on, allowed)
    rows = [row for row in report.sample if id(row) not in refused]
    if not rows:
        return ModelLook(tuple(problems), None)
    measured = [*text.measure(rows)]
    sequences = [each for some in measured for each in some]
    lengths = length_report(sequences, limit, is_sample=len(report.sample) < report.rows)
    if loss_on == "answers":
        problems += _merged_tokens(report, rows, measured)
        problems += _missing_ends(sequences, allowed)
    if (truncated := truncated_answers(lengths)) is not None:
        problems.append(truncated)
    return ModelLook(tuple(problems), lengths)


def _template_problems(
    report: DataReport, text: ModelText, loss_on: str, allowed: Collection[str]
) -> tuple[list[DataProblem], set[int]]:
    """(problems, the identities of the rows that the template refuses)."""
    waiting: deque[Found] = deque()

    def conversations() -> Iterator[Conversation]:
        for found in report.to_render:
            for conversation in conversations_in(found, report.layout.shape):
                waiting.append(found)
                yield conversation

    parts: dict[str, None] = {}
    details: dict[str, None] = {}
    with_parts, with_details, refusals = Tally(), Tally(), Refusals()
    refused: set[int] = set()
    rows_of: dict[str, set[int]] = {"parts": set(), "details": set()}
    for look in text.look(conversations(), is_trained_whole=loss_on == "all"):
        found = waiting.popleft()
        name = row_name(found.file, found.number, is_folder=report.is_folder)
        if look.refused is not None:
            if id(found.row) not in refused:
                refused.add(id(found.row))
                fix = "merge_system" if look.refused.hint == MERGE_HINT else None
                refusals.add(name, "", look.refused, fix)
            continue
        for part in look.dropped:
            tally, seen, rows = (
                (with_details, details, rows_of["details"])
                if part.is_minor
                else (with_parts, parts, rows_of["parts"])
            )
            seen.setdefault(part.what)
            if id(found.row) not in rows:  # both sides of a pair are one row
                rows.add(id(found.row))
                tally.add(name)
    of = (
        f", of {counted(len(report.to_render), 'row')} looked at"
        if len(report.to_render) < report.rows
        else ""
    )
    problems = refusals.problems
    if parts:
        level: Level = "warning" if "template_drops_turns" in allowed else "error"
        words = f"{left_out_words(parts)}{of}"
        problems.append(
            DataProblem(level, LEFT_OUT, with_parts.count, tuple(with_parts.rows), words, PARTS_HINT)
        )
    if details:
        words = f"{no_place_words(details)}{of}"
        problems.append(
            DataProblem("warning", NO_PLACE, with_details.count, tuple(with_details.rows), words, FIELDS_HINT)
        )
    return problems, refused


def _merged_tokens(
    report: DataReport, rows: Sequence[dict[str, Any]], measured: Sequence[Sequence[RowLength]]
) -> list[DataProblem]:
    """Rows of which an answer's first token begins within the prompt, by what of the prompt is in it."""
    names = {
        id(found.row): row_name(found.file, found.number, is_folder=report.is_folder)
        for found in report.to_render
    }
    tallies = {kind: Tally() for kind in KINDS}
    for row, sides in zip(rows, measured, strict=True):
        if merges := next((length.merges for length in sides if length.merges), None):
            tallies[merges].add(names[id(row)])
    of = f", of {counted(len(rows), 'row')} looked at" if len(rows) < report.rows else ""
    return [
        DataProblem("warning", KIND, tally.count, tuple(tally.rows), f"{WHAT}{of}", merge_hint(kind))
        for kind, tally in tallies.items()
        if tally.count
    ]


def _missing_ends(sequences: Sequence[RowLength], allowed: Collection[str]) -> list[DataProblem]:
    """What stops a run since answers do not end: no EOS token at all, or none where another turn follows."""
    level: Level = "warning" if "end_never_trained" in allowed else "error"
    answers = [is_ended for each in sequences for is_ended in each.ended]
    if answers and not any(answers):
        message = "no answer has an EOS token, so the model would not learn to stop"
        return [DataProblem(level, NO_END, len(answers), (), message, END_HINT)]
    followed = [is_ended for each in sequences for is_ended in each.ended[:-1]]
    unended = followed.count(False)
    if 2 * unended <= len(followed):
        return []
    message = (
        f"of {counted(len(followed), 'answer')} that another turn follows: the template writes the EOS token at a "
        "conversation's end only, so the model would learn not to stop"
    )
    return [DataProblem(level, NO_END, unended, (), message, f"{END_HINT}, or rows with one answer each")]


def truncated_answers(lengths: LengthReport) -> DataProblem | None:
    """What a length limit does to the answers, as a problem; None where all of them fit."""
    if not lengths.answers_truncated:
        return None
    drawn = f"of a sample of {lengths.rows:,}" if lengths.is_sample else f"of {lengths.rows:,}"
    lost = f", and nothing is left of {lengths.answers_lost:,}" if lengths.answers_lost else ""
    message = (
        f"{drawn} do not fit in {counted(lengths.limit, 'token')} and lose their EOS token; "
        f"{lengths.answer_share_cut:.1%} of the answers' tokens are truncated{lost}"
    )
    is_noted = lengths.answer_share_cut < NOTED_SHARE and not lengths.answers_lost
    level: Level = "note" if is_noted else "warning"
    advice = f"Raise training.max_length ({lengths.suggested_limit} leaves 99 %), or split the rows."
    return DataProblem(level, "truncated answers", lengths.answers_truncated, (), message, advice)

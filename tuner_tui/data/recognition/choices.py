"""Answers in columns of their own with a verdict beside them: arenas, annotation tools, HelpSteer, SHP and similar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.answer_columns import Answers, answer_columns, beside
from tuner_tui.data.recognition.fields import side_of
from tuner_tui.data.recognition.layout import Layout
from tuner_tui.data.recognition.prompts import LAST_RESORTS, Prompt
from tuner_tui.data.recognition.verdicts import Verdict, find_verdict
from tuner_tui.data.rows.comparison import Comparison, best_and_worst
from tuner_tui.data.rows.faults import NothingPreferred, RowFault
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.columns import Columns
    from tuner_tui.data.rows.comparison import Side

WITHOUT_VERDICT = "answers without a verdict"


def find(columns: Columns) -> Iterator[Layout]:
    """The choice that a sample of rows has, if any."""
    answers = answer_columns(columns)
    verdict = find_verdict(columns, answers) if answers is not None else None
    if answers is not None and verdict is not None:
        yield chosen_by(columns, answers, verdict)


def answers_alone(columns: Columns) -> Layout | None:
    """The same where nothing says which answer is better: to be annotated. Not for training."""
    answers = answer_columns(columns)
    if answers is None:
        return None
    layout = chosen_by(columns, answers, Verdict("", (), lambda _: ()))
    names = " and ".join(f"`{name}`" for name in answers.names)
    return replace(layout, variant=WITHOUT_VERDICT, reason=f"{names} are answers to annotate")


def chosen_by(columns: Columns, answers: Answers, verdict: Verdict) -> Layout:
    """Pairs of answers by a verdict."""
    names = answers.names
    asked = Prompt.of(columns, *names, *verdict.used, also=LAST_RESORTS)
    turn = columns.find(("turn",), "number")
    models = beside(columns, answers, (("model",),))
    is_lists = _is_lists(columns, (asked.name, *names))

    def read(row: Row) -> Row:
        """Prompt and answers by name."""
        if (dialogues := _list_dialogues(row, asked.name, names, is_lists)) is not None:
            return {**dict(zip(names, dialogues, strict=True))} | asked.beside.beside(row)
        for name in names:
            if row.get(name) is None:
                raise NothingPreferred("without an answer", f"`{name}` is null.")
        sides = {name: _until(side_of(row, name), row.get(str(turn))) for name in names}
        return asked.row(row, sides)

    def convert(row: Row) -> Row:
        best, worst = best_and_worst(verdict.votes(row), verdict.column)
        plain = read(row)
        sides = {"chosen": plain.pop(names[best]), "rejected": plain.pop(names[worst])}
        for name in names:
            plain.pop(name, None)
        return plain | sides

    def compare(row: Row) -> Comparison:
        plain = read(row)
        return Comparison(
            plain.get("prompt"),
            tuple(plain[name] for name in names),
            verdict.votes(row),
            verdict.suggestions(row),
            models=tuple(_text(row.get(name)) for name in models or ()),
        )

    either = " or ".join(f"{{{name}}}" for name in names)
    listed = f"{', '.join(f'`{name}`' for name in names[:-1])} and `{names[-1]}`"
    used = tuple(
        dict.fromkeys((*names, *verdict.used, *asked.names, *([turn] if turn else []), *(models or ())))
    )
    has_dialogues = is_lists or columns.kinds[names[0]] in ("turns", "texts")
    return Layout(
        "preference",
        "two answers and a choice" if len(names) == 2 else "several answers and a choice",
        verdict.confidence if asked.name or has_dialogues else 0.4,
        f"`{verdict.column}` says which of {listed} is better{verdict.direction}",
        asked.mapping
        | {
            "chosen": f"{either} by {verdict.column}",
            "rejected": "the other" if len(names) == 2 else "the worst",
        },
        convert,
        used,
        compare,
        problem=verdict.problem,
    )


def _until(side: Side, turn: Any) -> Side:
    """A dialogue up to the turn of the user that a verdict is about, as in MT-bench, with its answer."""
    if isinstance(side, str) or not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
        return side
    asked = [place for place, each in enumerate(side) if each["role"] == "user"]
    return side[: asked[turn]] if len(asked) > turn else side


def _is_lists(columns: Columns, names: tuple[str | None, ...]) -> bool:
    """Whether prompt and answers are lists of texts, written as JSON or Python, as LMSYS's files have them."""
    for name in names:
        values = columns.values(name) if name else []
        if not values or sum(_is_text_list(value) for value in values) <= len(values) / 2:
            return False
    return True


def _is_text_list(value: Any) -> bool:
    listed = as_object(value) if isinstance(value, str) else value
    return isinstance(listed, list) and bool(listed) and all(isinstance(each, str | None) for each in listed)


def _list_dialogues(
    row: Row, prompt: str | None, names: tuple[str, ...], is_lists: bool
) -> list[list[dict[str, Any]]] | None:
    """Each answer's dialogue where prompt and answers are lists of equally many texts; None where they are not.

    Raises RowFault where they should be and are not, so that no brackets are taken for text.
    """
    columns = [name for name in (prompt, *names) if name]
    if prompt is None or not (is_lists or all(_is_text_list(row.get(name)) for name in columns)):
        return None
    for name in columns:
        if not _is_text_list(row.get(name)):
            raise RowFault(
                "A list cannot be read", f"`{name}` is not a list of texts, as the other rows have."
            )
    lists = [as_object(row[name]) for name in columns]
    if len({len(each) for each in lists}) != 1:
        named = ", ".join(f"`{name}`" for name in columns)
        raise RowFault("The turns do not match", f"{named} differ in length.", "Leave the row out.")
    for name, each in zip(columns, lists, strict=True):
        if any(text is None for text in each):
            raise NothingPreferred("without an answer", f"`{name}` holds null.")
    return [_alternating(lists[0], each) for each in lists[1:]]


def _alternating(questions: list[str], answers: list[str]) -> list[dict[str, Any]]:
    return [
        turn
        for question, answer in zip(questions, answers, strict=True)
        for turn in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""Several answers in one column, best first, or with ranks, scores or a choice: UltraFeedback, Nectar and similar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.columns import LIST_SCORES, RANKED, RANKS
from tuner_tui.data.recognition.fields import side_of
from tuner_tui.data.recognition.layout import Layout
from tuner_tui.data.recognition.prompts import Prompt
from tuner_tui.data.recognition.verdicts import number_of
from tuner_tui.data.rows.comparison import Comparison, best_and_worst, by_worth
from tuner_tui.data.rows.faults import NothingPreferred, RowFault
from tuner_tui.data.rows.unused import pass_over

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.columns import Columns

Listed = tuple[list[Any], list[float], tuple[str, ...]]
"""Answers, what each is worth, and the models that wrote them where these are named."""


def find(columns: Columns) -> Iterator[Layout]:
    """The ranked answers that a sample of rows has, if any."""
    name = columns.find(RANKED, "texts", "objects", "turns", "other")
    if name is None:
        return
    if columns.kinds[name] == "texts":
        yield from _texts(columns, name)
    else:
        yield from _objects(columns, name)


def _texts(columns: Columns, name: str) -> Iterator[Layout]:
    ranks, scores = columns.find(RANKS, "numbers"), columns.find(LIST_SCORES, "numbers")
    measure = ranks or scores
    if measure is None and not name.lower().startswith("ranked"):
        return

    def read(row: Row) -> Listed:
        answers = row.get(name) or []
        numbers = row.get(measure) if measure else list(range(len(answers)))
        if not isinstance(numbers, list) or len(numbers) != len(answers):
            raise RowFault("The ranks do not match", f"`{name}` and `{measure}` differ in length.")
        if not all(isinstance(number, int | float) for number in numbers):
            raise RowFault("The ranks do not match", f"`{measure}` holds a value that is not a number.")
        return answers, [-n if measure is None or measure == ranks else n for n in numbers], ()

    reason = (
        f"`{name}` are answers in the order of `{measure}`" if measure else f"`{name}` is listed best first"
    )
    if scores and not ranks:
        reason = f"`{name}` are answers, and the higher of `{measure}` is the better"
    used = (name, *([measure] if measure else []))
    yield _finding(columns, name, "ranked answers", 0.983 if measure else 0.7, reason, read, used)


def _objects(columns: Columns, name: str) -> Iterator[Layout]:
    values = columns.values(name)
    key, text_key = _score_key(values), _text_key(values)
    choice = (
        columns.find(("choice",), "number") if name.lower() == "summaries" else None
    )  # OpenAI's comparisons
    if text_key is None or (key is None and choice is None):
        return

    def read(row: Row) -> Listed:
        answers = row.get(name)
        if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
            raise RowFault("A field is not a list of answers", f"`{name}` is {type(answers).__name__}.")
        for other in {other for each in answers for other in each} - {text_key, key, "model"}:
            pass_over(f"{name}[].{other}")
        if key is None:
            scored = answers
            worth = [float(place == row.get(str(choice))) for place in range(len(answers))]
        else:
            scored = [each for each in answers if number_of(each.get(key)) is not None]
            worth = [(-1 if key in RANKS else 1) * (number_of(each.get(key)) or 0.0) for each in scored]
        models = tuple(each["model"] if isinstance(each.get("model"), str) else "" for each in scored)
        return [each.get(text_key) for each in scored], worth, models

    order = "1 the best" if key in RANKS else "the higher the better"
    reason = (
        f"`{name}` are answers (`{text_key}`), each with its `{key}`, {order}"
        if key
        else f"`{choice}` says which of `{name}` is best, counted from 0"
    )
    used = (name, *([choice] if choice and key is None else []))
    yield _finding(columns, name, "scored answers", 0.984, reason, read, used)


def _finding(
    columns: Columns,
    name: str,
    variant: str,
    confidence: float,
    reason: str,
    read: Callable[[Row], Listed],
    used: tuple[str, ...],
) -> Layout:
    asked = Prompt.of(columns, name)

    def convert(row: Row) -> Row:
        answers, worth, _ = read(row)
        best, worst = best_and_worst(*_votes(worth, name))
        sides = [side_of({name: answers[place]}, name) for place in (best, worst)]
        return asked.row(row, {"chosen": sides[0], "rejected": sides[1]})

    def compare(row: Row) -> Comparison:
        answers, worth, models = read(row)
        votes, _ = _votes(worth, name)
        sides = {str(place): side_of({name: answer}, name) for place, answer in enumerate(answers)}
        plain = asked.row(row, sides)
        return Comparison(
            plain.get("prompt"), tuple(plain[place] for place in sides), tuple(votes), models=models
        )

    mapping = asked.mapping | {"chosen": f"the best of {{{name}}}", "rejected": f"the worst of {{{name}}}"}
    return Layout("preference", variant, confidence, reason, mapping, convert, (*used, *asked.names), compare)


def _votes(worth: list[float], name: str) -> tuple[list[Any], str]:
    """The one vote of numbers, and the field that says so. Raises NothingPreferred for fewer than two answers."""
    if len(worth) < 2:
        raise NothingPreferred("not annotated", f"`{name}` has no two answers with a rank or a score.")
    return [by_worth(worth)], name


def _score_key(values: list[Any]) -> str | None:
    wanted = (
        *RANKS,
        "overall_score",
        "score",
        "pm_score",
        "rating",
        "reward",
        "fine-grained_score",
        "label",
        "votes",
    )
    objects = _objects_in(values)
    return next(
        (key for key in wanted if any(number_of(each.get(key)) is not None for each in objects)), None
    )


def _text_key(values: list[Any]) -> str | None:
    wanted = ("response", "text", "content", "completion", "answer", "output", "value", "generation")
    objects = _objects_in(values)
    return next((key for key in wanted if any(isinstance(each.get(key), str) for each in objects)), None)


def _objects_in(values: list[Any]) -> list[dict[str, Any]]:
    return [each for value in values if isinstance(value, list) for each in value if isinstance(each, dict)]

"""Exports of annotation tools whose rows hold answers and verdicts in objects within each other, as plain columns.

Label Studio (JSON), Argilla 1 and 2 (records, and rows on the Hub) become one column per field and, per question,
`QUESTION.responses` with `.users` and `.status` beside it, as Argilla 2 writes its own rows. Open WebUI's feedback
becomes `prompt`, `completion` and `label`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.answer_columns import tokens_of
from tuner_tui.data.recognition.open_webui import is_feedback, rated_of_feedback
from tuner_tui.data.recognition.verdict_values import unwrapped
from tuner_tui.data.recognition.verdicts import number_of
from tuner_tui.data.rows.faults import LeftOut, NothingPreferred, RowFault
from tuner_tui.data.rows.written import as_object
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.files.rows import Found

LOOKED_AT_ROWS = 20
RATING_WORDS = frozenset(("rating", "ratings", "score", "quality", "stars"))
"""Words in the name of a question that rates one answer with a number."""
Flatten = Callable[["Row"], "Row"]
"""An export's row as plain columns. Raises RowFault."""


def plain_columns(rows: Iterator[Found]) -> Iterator[Found]:
    """The rows as they are; of a known export, with a column for everything that they hold."""
    head: list[Found] = []
    broken: InputError | None = None
    try:
        head.extend(itertools.islice(rows, LOOKED_AT_ROWS))
    except InputError as error:  # reported after the rows up to there
        broken = error
    flatten = _export_of([found.row for found in head if isinstance(found.row, dict)])
    if flatten is not None:
        head = [_flat(found, flatten) for found in head]
    rated = _rating_questions([found.row for found in head if isinstance(found.row, dict)])
    yield from (_flat(found, partial(_with_ratings, questions=rated)) for found in head) if rated else head
    if broken is not None:
        raise broken
    if flatten is not None:
        rows = (_flat(found, flatten) for found in rows)
    yield from (_flat(found, partial(_with_ratings, questions=rated)) for found in rows) if rated else rows


def _export_of(rows: list[Row]) -> Flatten | None:
    """What makes plain columns of rows that all are of one export; None for any other rows."""
    if not rows:
        return None
    for is_one, flatten in (
        (_is_label_studio, _label_studio),
        (_is_argilla, _argilla),
        (is_feedback, rated_of_feedback),
    ):
        if all(map(is_one, rows)):
            return flatten
    questions = _hub_questions(rows)
    return (lambda row: _argilla_hub(row, questions)) if questions else None


def _flat(found: Found, flatten: Flatten) -> Found:
    if isinstance(found.row, InputError):
        return found
    try:
        return found._replace(row=flatten(found.row))
    except NothingPreferred as fault:
        return found._replace(row=LeftOut(fault, f"{found.file}:{found.number}"))
    except RowFault as fault:
        error = InputError(fault.title, f"{found.file}:{found.number}: {fault.message}", fault.hint)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        error = InputError(
            "A row differs from the others", f"{found.file}:{found.number}: its objects are different."
        )
    return found._replace(row=error)


# Ratings -------------------------------------------------------------------------------------------------------------


def _rating_questions(rows: list[Row]) -> tuple[str, ...]:
    """The questions by which annotators rate one answer with a number."""
    names = dict.fromkeys(name for row in rows for name in row if name.endswith(".responses"))
    questions = [name.removesuffix(".responses") for name in names]
    return tuple(
        question
        for question in questions
        if RATING_WORDS.intersection(tokens_of(question))
        and not any(row.get(question) is not None for row in rows)
        and any(_numbers(row, question) for row in rows)
        and all(_numbers(row, question) is not None for row in rows)
    )


def _numbers(row: Row, question: str) -> list[float] | None:
    """What was submitted to a question; None where something of it is no number."""
    values = row.get(f"{question}.responses") or []
    statuses = row.get(f"{question}.responses.status") or []
    if not isinstance(values, list) or not isinstance(statuses, list):
        return None
    if len(statuses) != len(values):
        statuses = ["submitted"] * len(values)
    submitted = [
        number_of(unwrapped(value.get("rating", value) if isinstance(value, dict) else value))
        for value, status in zip(values, statuses, strict=True)
        if status in ("submitted", None)
    ]
    return None if None in submitted else [number for number in submitted if number is not None]


def _with_ratings(row: Row, questions: tuple[str, ...]) -> Row:
    """The row with each question's mean in place of its responses. Raises RowFault for one that is no number."""
    plain = dict(row)
    for question in questions:
        numbers = _numbers(row, question)
        if numbers is None:
            raise RowFault(
                "A rating is not a number",
                f"`{question}.responses` is {row.get(f'{question}.responses')!r}.",
                "Give numbers, as the rows before it do, or leave the row out.",
            )
        for end in ("", ".status"):
            plain.pop(f"{question}.responses{end}", None)
        mean = sum(numbers) / len(numbers) if numbers else None
        plain[question] = int(mean) if mean is not None and mean.is_integer() else mean
    return plain


# Label Studio --------------------------------------------------------------------------------------------------------


def _is_label_studio(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(
        row.get("annotations", row.get("completions")), list
    )


_TASK = ("data", "annotations", "completions", "predictions", "drafts")


def _label_studio(row: Row) -> Row:
    """A task: its data, and the results of all annotations that were not cancelled, by the control that they are of."""
    data: Row = row["data"]
    flat: Row = {name: value for name, value in row.items() if name not in _TASK} | data
    responses: defaultdict[str, list[Any]] = defaultdict(list)
    users: defaultdict[str, list[str]] = defaultdict(list)
    for annotation in row.get("annotations", row.get("completions")) or []:
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        for result in annotation.get("result") or []:
            name = str(result.get("from_name") or result.get("type"))
            responses[name].append(_side_named(result, data))
            users[name].append(_user(annotation.get("completed_by")))
    for prediction in row.get("predictions") or []:
        for result in prediction.get("result") or [] if isinstance(prediction, dict) else []:
            name = str(result.get("from_name") or result.get("type"))
            flat[f"{name}.suggestion"] = _side_named(result, data)
            flat[f"{name}.suggestion.agent"] = str(prediction.get("model_version") or "prediction")
    for name, values in responses.items():
        flat |= {f"{name}.responses": values, f"{name}.responses.users": users[name]}
    return flat


def _side_named(result: Row, data: Row) -> Any:
    """A result's value; a side becomes the name of its field, where the result says which two it compares."""
    value = result.get("value")
    compared = result.get("to_name")
    names = compared.split(",") if isinstance(compared, str) else compared
    selected = value.get("selected") if isinstance(value, dict) else None
    if isinstance(names, list) and len(names) == 2 and selected in ("left", "right"):
        name = str(names[("left", "right").index(selected)]).strip()
        return name if all(str(each).strip() in data for each in names) else selected
    return value


def _user(who: Any) -> str:
    """An annotator's number; never an address."""
    if isinstance(who, dict):
        who = who.get("id")
    return str(who) if isinstance(who, int | str) else ""


# Argilla -------------------------------------------------------------------------------------------------------------


def _is_argilla(row: Row) -> bool:
    return isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row)


_RECORD = ("fields", "responses", "suggestions", "vectors")


def _argilla(row: Row) -> Row:
    """A record of version 1 or 2: responses by question, or by user."""
    flat: Row = {name: value for name, value in row.items() if name not in _RECORD} | row["fields"]
    responses: defaultdict[str, list[tuple[Any, Any, Any]]] = defaultdict(list)
    given = row.get("responses") or []
    if isinstance(given, dict):
        for question, listed in given.items():
            for each in listed if isinstance(listed, list) else [listed]:
                value = each.get("value") if isinstance(each, dict) else each
                who = each if isinstance(each, dict) else {}
                responses[question].append((value, who.get("user_id"), who.get("status", "submitted")))
    else:
        for each in given:
            for question, answer in (each.get("values") or {}).items():
                value = answer.get("value") if isinstance(answer, dict) else answer
                responses[question].append((value, each.get("user_id"), each.get("status", "submitted")))
    for question, entries in responses.items():
        flat |= _question(question, [entry for entry in entries if entry[0] is not None])
    suggested = row.get("suggestions") or []
    if isinstance(suggested, dict):
        suggested = [{**(each or {}), "question_name": name} for name, each in suggested.items()]
    for each in suggested:
        if isinstance(each, dict) and each.get("question_name"):
            flat[f"{each['question_name']}.suggestion"] = each.get("value")
            flat[f"{each['question_name']}.suggestion.agent"] = each.get("agent")
    return flat


def _question(name: str, entries: list[tuple[Any, Any, Any]]) -> Row:
    return {
        f"{name}.responses": [value for value, _, _ in entries],
        f"{name}.responses.users": [_user(user) for _, user, _ in entries],
        f"{name}.responses.status": [status for _, _, status in entries],
    }


def _hub_questions(rows: list[Row]) -> tuple[str, ...]:
    """The columns of Argilla 1's rows on the Hub that hold responses: lists of value, user_id and status."""
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(
        name
        for name in names
        if any(row.get(name) for row in rows)
        and all(row.get(name) in (None, [], {}) or _entries(row.get(name)) is not None for row in rows)
    )


def _entries(value: Any) -> list[tuple[Any, Any, Any]] | None:
    """Responses as (value, user, status); None for anything else. A sequence of objects may be an object of lists."""
    value = as_object(value)
    wanted = {"value", "user_id", "status"}
    if (
        isinstance(value, dict)
        and wanted <= value.keys()
        and all(isinstance(value[key], list) for key in wanted)
    ):
        return list(zip(value["value"], value["user_id"], value["status"], strict=False))
    if (
        isinstance(value, list)
        and value
        and all(isinstance(each, dict) and {"value", "status"} <= each.keys() for each in value)
    ):
        return [(each["value"], each.get("user_id"), each["status"]) for each in value]
    return None


def _argilla_hub(row: Row, questions: tuple[str, ...]) -> Row:
    flat: Row = {}
    for name, value in row.items():
        question = next((each for each in questions if name == f"{each}-suggestion"), None)
        if name in questions:
            flat |= _question(name, _entries(value) or [])
        elif question is not None:
            flat[f"{question}.suggestion"] = value
            about = row.get(f"{name}-metadata")
            flat[f"{question}.suggestion.agent"] = about.get("agent") if isinstance(about, dict) else None
        else:
            flat[name] = value
    return flat

"""Imports rows of files: annotated ones (pairs, unpaired, ranked), answers to annotate, and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.files.rows import locate, read_rows
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.rows.preference import as_turns, is_pair, is_rated, pair_of, rated_of, side_of
from tuner_tui.errors import InputError
from tuner_tui.feedback.records import Annotation, Maker, NewAnswer, Strength, Verdict
from tuner_tui.generation.messages import Role, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner_tui.data.rows.preference import Side
    from tuner_tui.data.rows.types import Message
    from tuner_tui.feedback.store import Store

Row = dict[str, Any]
ANSWER_LISTS = ("answers", "responses", "completions")
PROMPT_FIELDS = ("prompt", "instruction", "question", "query")
MOST_ANSWERS = 4
SHAPES_HELP = (
    "Rows need `prompt` with `chosen` and `rejected`; with `completion` and `label` (true or false) or `score` (1 to "
    "5); with `answers` (two to four), and `ranks` or `scores` if they are annotated; or `prompt` alone."
)


class ImportedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row to import; ranks and scores are in the order of the answers."""

    prompt: tuple[Turn, ...]
    origin: str
    answers: tuple[NewAnswer, ...] = ()
    verdict: Verdict | None = None
    ranks: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    strength: Strength = "clear"

    def annotation(self, answers: Sequence[int]) -> Annotation | None:
        """The row's annotation, given the ids of its answers."""
        if self.verdict is None:
            return None
        return Annotation(
            verdict=self.verdict,
            shown=tuple(answers),
            ranks=self.ranks,
            scores=self.scores,
            strength=self.strength,
        )


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of an import."""

    items: int
    judged: int
    unjudged: int
    """Items with answers to annotate."""
    prompts: int
    """Items without answers."""
    already_there: int


def import_file(store: Store, name: str) -> ImportReport:
    """Import all rows of a file, all or none. Raises InputError that names file, line and field.

    Rows whose prompt and answers exist already are skipped.
    """
    path = locate(name)
    rows = read_import(path)
    return keep_rows(store, rows, annotator=f"file:{path.name}")


def read_import(path: Path) -> list[ImportedRow]:
    """All rows of a file. Raises InputError, also for an empty file.

    Rows with other field names are read as pairs or unpaired preferences, where they are recognised as such.
    """
    rows: list[ImportedRow] = []
    for number, row in read_rows(path):
        try:
            rows.append(row_of(row, path, number))
        except InputError:
            recognised = [] if rows else _recognised(path)
            if not recognised:
                raise
            return recognised
        if len(rows) == 1 and not rows[0].answers and (recognised := _recognised(path)):
            return recognised  # a prompt, with answers in fields of other names
    if not rows:
        raise InputError("The data file is empty", f"{path} has no rows.", SHAPES_HELP)
    return rows


def _recognised(path: Path) -> list[ImportedRow]:
    """A file's rows where they are recognised as pairs or unpaired preferences; otherwise none."""
    try:
        plain = plain_rows(Reading(path))
    except InputError:
        return []
    if plain.layout.shape not in ("preference", "rated") or isinstance(next(plain.rows).row, InputError):
        return []
    return [row_of(row, file, number) for file, number, row in plain_rows(Reading(path)).strict()]


def keep_rows(store: Store, rows: Sequence[ImportedRow], annotator: str) -> ImportReport:
    """Import rows in one transaction."""
    known_items = {_identity(item.prompt, item.answers) for item in store.items()}
    new: list[ImportedRow] = []
    for row in rows:
        identity = _identity(row.prompt, row.answers)
        if identity not in known_items:
            known_items.add(identity)
            new.append(row)
    store.add_annotated(
        [(row.prompt, row.origin, row.answers, row.annotation) for row in new],
        annotator=annotator,
        annotator_kind="import",
    )
    judged = sum(row.verdict is not None for row in new)
    bare = sum(not row.answers for row in new)
    return ImportReport(
        items=len(new),
        judged=judged,
        unjudged=len(new) - judged - bare,
        prompts=bare,
        already_there=len(rows) - len(new),
    )


def row_of(row: Row, path: Path, number: int) -> ImportedRow:
    """One row. Raises InputError that names file, line and field."""
    origin = f"{path.name}:{number}"
    if is_pair(row):
        pair = pair_of(row, path, number)
        answers = (_answer(pair.chosen, row, "chosen"), _answer(pair.rejected, row, "rejected"))
        strength: Strength = "slight" if row.get("strength") == "slight" else "clear"
        return ImportedRow(
            prompt=_turns(pair.prompt),
            origin=origin,
            answers=answers,
            verdict="choice",
            ranks=(1, 2),
            strength=strength,
        )
    if is_rated(row):
        rated = rated_of(row, path, number)
        return ImportedRow(
            prompt=_turns(rated.prompt),
            origin=origin,
            answers=(_answer(rated.completion, row, "completion"),),
            verdict="thumbs",
            scores=(int(rated.label),),
        )
    prompt = _prompt(row, path, number)
    if "completion" in row and "score" in row:
        return ImportedRow(
            prompt=prompt,
            origin=origin,
            answers=(_answer(side_of(row["completion"], "completion", path, number), row, "completion"),),
            verdict="scores",
            scores=(_score(row["score"], f"{path}:{number}: `score`"),),
        )
    field = next((name for name in ANSWER_LISTS if name in row), None)
    if field is None:
        return ImportedRow(prompt=prompt, origin=origin)
    return _listed(row, field, prompt, path, number)


def _listed(row: Row, field: str, prompt: tuple[Turn, ...], path: Path, number: int) -> ImportedRow:
    where = f"{path}:{number}"
    listed = row[field]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_ANSWERS:
        actual = f"{len(listed)}" if isinstance(listed, list) else type(listed).__name__
        raise InputError(
            "The answers are not a list of one to four", f"{where}: `{field}` is {actual}.", SHAPES_HELP
        )
    answers = tuple(
        _listed_answer(answer, f"{where}: {field}[{place}]") for place, answer in enumerate(listed)
    )
    plain = ImportedRow(prompt=prompt, origin=f"{path.name}:{number}", answers=answers)
    if row.get("ranks") is not None:
        ranks = _numbers(row["ranks"], len(answers), f"{where}: `ranks`")
        if len(answers) < 2:
            raise InputError(
                "One answer has no rank", f"{where}: `ranks` needs two answers or more.", SHAPES_HELP
            )
        verdict: Verdict = "tie" if len(set(ranks)) == 1 else "ranking" if len(ranks) > 2 else "choice"
        return msgspec.structs.replace(plain, verdict=verdict, ranks=ranks)
    if row.get("scores") is not None:
        scores = row["scores"]
        if not isinstance(scores, list) or len(scores) != len(answers):
            raise InputError(
                "The scores do not match the answers",
                f"{where}: `scores` must have {len(answers)} numbers.",
                SHAPES_HELP,
            )
        values = tuple(_score(score, f"{where}: `scores`") for score in scores)
        return msgspec.structs.replace(plain, verdict="scores", scores=values)
    return plain


def _listed_answer(value: Any, where: str) -> NewAnswer:
    row = value if isinstance(value, dict) else {"text": value}
    text = row.get("text", row.get("content"))
    if not isinstance(text, str):
        raise InputError(
            "An answer is not text", f"{where}: expected text, or an object with `text`.", SHAPES_HELP
        )
    finished = row.get("finished", row.get("is_finished"))
    model = row.get("model")
    return NewAnswer(
        text=text,
        maker=Maker(kind="import", model=model if isinstance(model, str) else ""),
        is_finished=finished if isinstance(finished, bool) else None,
    )


def _prompt(row: Row, path: Path, number: int) -> tuple[Turn, ...]:
    field = next((name for name in PROMPT_FIELDS if row.get(name) is not None), None)
    if field is not None:
        return _turns(side_of(row[field], field, path, number))
    turns = row.get("messages", row.get("conversations"))
    if turns is not None:
        prompt = _turns(side_of(turns, "messages", path, number))
        while (
            prompt and prompt[-1].role == "assistant"
        ):  # the assistant's last answer is not part of the prompt
            prompt = prompt[:-1]
        if prompt:
            return prompt
    names = ", ".join(list(row)[:8]) or "none"
    raise InputError("Unknown columns", f"{path}:{number}: the row's fields are: {names}.", SHAPES_HELP)


def _turns(side: Side) -> tuple[Turn, ...]:
    converted = []
    for message in as_turns(side):
        _require_text(message)
        role: Role = "user" if message.role == "tool" else message.role
        converted.append(Turn(role, message.content))
    return tuple(converted)


def _answer(side: Side, row: Row, name: str) -> NewAnswer:
    for message in () if isinstance(side, str) else side:
        _require_text(message)
    text = side if isinstance(side, str) else side[-1].content
    model = row.get(f"{name}_model")
    finished = row.get(f"{name}_finished")
    return NewAnswer(
        text=text,
        maker=Maker(kind="import", model=model if isinstance(model, str) else ""),
        is_finished=finished if isinstance(finished, bool) else None,
    )


def _require_text(message: Message) -> None:
    """Raise InputError for what a collection has no place for, and would lose."""
    more = sorted({"tool_calls", "reasoning_content"} & {*(message.extra or {})})
    if more:
        raise InputError(
            "A collection holds text alone",
            f"A turn of the {message.role} has {' and '.join(f'`{name}`' for name in more)}.",
            "Train on the file itself: data.train names it.",
        )


def _score(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value not in (1, 2, 3, 4, 5):
        raise InputError(
            "Invalid score", f"{where} is {value!r}; expected a whole number from 1 to 5.", SHAPES_HELP
        )
    return int(value)


def _numbers(value: Any, count: int, where: str) -> tuple[int, ...]:
    fits = isinstance(value, list) and len(value) == count
    if not fits or any(isinstance(rank, bool) or not isinstance(rank, int) for rank in value):
        raise InputError(
            "The ranks do not match the answers",
            f"{where} must have {count} whole numbers, 1 for the best.",
            SHAPES_HELP,
        )
    order = sorted(set(value))
    return tuple(order.index(rank) + 1 for rank in value)


def _identity(prompt: Sequence[Turn], answers: Sequence[NewAnswer]) -> tuple[object, ...]:
    return tuple(prompt), tuple(answer.text for answer in answers)

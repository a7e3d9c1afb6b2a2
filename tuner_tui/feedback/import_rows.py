"""Rows of files as a collection takes them: a prompt, answers, and what annotators and models said of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tuner_tui.data.recognition.annotated import is_note
from tuner_tui.data.rows.comparison import Comparison, Vote
from tuner_tui.data.rows.content import said
from tuner_tui.data.rows.preference import as_turns, is_pair, is_rated, pair_of, rated_of, side_of
from tuner_tui.errors import InputError
from tuner_tui.feedback.records import Annotation, Maker, NewAnswer, Proposal, Strength, Verdict
from tuner_tui.generation.messages import Role, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.data.rows.preference import Side
    from tuner_tui.data.rows.types import Message

Row = dict[str, Any]
ANSWER_LISTS = ("answers", "responses", "completions")
PROMPT_FIELDS = ("prompt", "instruction", "question", "query")
LISTED_FIELDS = (*ANSWER_LISTS, "ranks", "scores")
MOST_ANSWERS = 4
SHAPES_HELP = (
    "Rows need `prompt` with `chosen` and `rejected`; with `completion` and `label` (true or false) or `score` (1 to "
    "5); with `answers` (two to four), and `ranks` or `scores` if they are annotated; or `prompt` alone."
)
Unfit = Literal["dialogues that differ before the last answer", "with tool calls"]
"""Rows for which a collection has no place, which it would lose a part of."""


class NotForCollections(Exception):
    """A row that is understood, and for which a collection has no place."""

    def __init__(self, reason: Unfit) -> None:
        super().__init__(reason)
        self.reason: Unfit = reason


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """What one annotator said; ranks and scores are in the order of the answers."""

    verdict: Verdict
    ranks: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    strength: Strength = "clear"
    annotator: str = ""
    """As the file names them; empty where it does not."""

    def annotation(self, answers: Sequence[int]) -> Annotation:
        """As an annotation of answers with these ids."""
        is_demonstration = self.verdict == "demonstration"
        return Annotation(
            verdict=self.verdict,
            shown=tuple(answers),
            ranks=self.ranks,
            scores=self.scores,
            strength=self.strength,
            written=answers[0] if is_demonstration else None,
        )


class Suggested(msgspec.Struct, frozen=True, kw_only=True):
    """Which of two answers a model suggested."""

    place: int
    model: str

    def proposal(self, answers: Sequence[int]) -> Proposal:
        """As a proposal on answers with these ids; that it was asked in both orders is not known."""
        chosen = answers[self.place]
        return Proposal(
            judge=self.model,
            principles="",
            answers=(answers[0], answers[1]),
            preferred=(chosen, chosen),
            reasons=("suggested in the file", ""),
        )


class ImportedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row to import."""

    prompt: tuple[Turn, ...]
    origin: str
    answers: tuple[NewAnswer, ...] = ()
    verdicts: tuple[Verdicts, ...] = ()
    suggested: tuple[Suggested, ...] = ()

    @property
    def without_answers(self) -> ImportedRow:
        """Its prompt alone, where its one answer was written and not compared."""
        is_written = any(each.verdict == "demonstration" for each in self.verdicts)
        return ImportedRow(prompt=self.prompt, origin=self.origin) if is_written else self


def is_own_form(row: Row) -> bool:
    """Whether a row has the fields of our own forms, and no others that could hold a verdict."""
    if is_pair(row) or is_rated(row) or ("completion" in row and "score" in row):
        return True
    if not any(row.get(name) is not None for name in PROMPT_FIELDS):
        return False
    return not fields_beyond(row, (*PROMPT_FIELDS, *LISTED_FIELDS))


def fields_beyond(row: Row, used: Sequence[str]) -> list[str]:
    """Fields that are not used and do more than describe the row."""
    return [
        name
        for name, value in row.items()
        if name not in used and value not in (None, "", [], {}) and not is_note(name)
    ]


def row_of(row: Row, path: Path, number: int) -> ImportedRow:
    """One row of our own forms. Raises InputError that names file, line and field, or NotForCollections."""
    origin = f"{path.name}:{number}"
    if is_pair(row):
        pair = pair_of(row, path, number)
        strength: Strength = "slight" if row.get("strength") == "slight" else "clear"
        return ImportedRow(
            prompt=_turns(pair.prompt),
            origin=origin,
            answers=(_answer(pair.chosen, row, "chosen"), _answer(pair.rejected, row, "rejected")),
            verdicts=(Verdicts(verdict="choice", ranks=(1, 2), strength=strength),),
        )
    if is_rated(row):
        rated = rated_of(row, path, number)
        return ImportedRow(
            prompt=_turns(rated.prompt),
            origin=origin,
            answers=(_answer(rated.completion, row, "completion"),),
            verdicts=(Verdicts(verdict="thumbs", scores=(int(rated.label),)),),
        )
    prompt = _prompt(row, path, number)
    if "completion" in row and "score" in row:
        score = _score(row["score"], f"{path}:{number}: `score`")
        return ImportedRow(
            prompt=prompt,
            origin=origin,
            answers=(_answer(side_of(row["completion"], "completion", path, number), row, "completion"),),
            verdicts=(Verdicts(verdict="scores", scores=(score,)),),
        )
    if "completion" in row:
        written = _answer(side_of(row["completion"], "completion", path, number), row, "completion")
        return _demonstration(prompt, origin, written)
    field = next((name for name in ANSWER_LISTS if name in row), None)
    if field is None:
        return ImportedRow(prompt=prompt, origin=origin)
    return _listed(row, field, prompt, path, number)


def row_of_turns(turns: list[dict[str, Any]], path: Path, number: int) -> ImportedRow:
    """A conversation: its last answer is a demonstration, where it ends with one. Raises as `row_of` does."""
    origin = f"{path.name}:{number}"
    messages = side_of(turns, "messages", path, number)
    assert not isinstance(messages, str)
    if messages[-1].role != "assistant":
        return ImportedRow(prompt=_turns(messages), origin=origin)
    if not any(message.role == "user" for message in messages[:-1]):
        raise InputError(
            "The prompt is missing", f"{path}:{number}: no turn of a user stands before the answer."
        )
    return _demonstration(_turns(messages[:-1]), origin, _answer(messages[-1:], {}, "completion"))


def row_of_comparison(compared: Comparison, path: Path, number: int) -> ImportedRow:
    """Answers with votes or scores. Raises as `row_of` does."""
    prompt, answers = _parted(compared, path, number)
    models = compared.models or ("",) * len(answers)
    if compared.scores:
        verdicts: tuple[Verdicts, ...] = (Verdicts(verdict="scores", scores=compared.scores),)
    else:
        verdicts = tuple(map(_verdicts_of, compared.votes))
    return ImportedRow(
        prompt=prompt,
        origin=f"{path.name}:{number}",
        answers=tuple(
            NewAnswer(text=text, maker=Maker(kind="import", model=model))
            for text, model in zip(answers, models, strict=True)
        ),
        verdicts=verdicts,
        suggested=tuple(
            Suggested(place=vote.ranks.index(1), model=vote.annotator or "suggestion")
            for vote in compared.suggestions
            if len(vote.ranks) == 2 and not vote.is_tie
        ),
    )


def _verdicts_of(vote: Vote) -> Verdicts:
    is_ranking = len(vote.ranks) > 2 and sorted(vote.ranks)[1:] != [2] * (len(vote.ranks) - 1)
    verdict: Verdict = (
        "both_bad" if vote.is_bad else "tie" if vote.is_tie else "ranking" if is_ranking else "choice"
    )
    return Verdicts(verdict=verdict, ranks=vote.ranks, strength=vote.strength, annotator=vote.annotator)


def _parted(compared: Comparison, path: Path, number: int) -> tuple[tuple[Turn, ...], list[str]]:
    """(the prompt's turns, the text of each answer to them)."""
    if compared.prompt is not None and all(isinstance(answer, str) for answer in compared.answers):
        return _turns(side_of(compared.prompt, "prompt", path, number)), [
            str(answer) for answer in compared.answers
        ]
    sides = [
        answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}]
        for answer in compared.answers
    ]
    if isinstance(compared.prompt, list):
        prompt = compared.prompt
        sides = [_without(prompt, side) for side in sides]
    elif compared.prompt is not None:
        prompt = [{"role": "user", "content": compared.prompt}]
        sides = [_without(prompt, side) for side in sides]
    else:
        shared = 0
        for turns in zip(*(side[:-1] for side in sides), strict=False):
            if any(said(turn) != said(turns[0]) for turn in turns):
                break
            shared += 1
        prompt, sides = sides[0][:shared], [side[shared:] for side in sides]
    if not any(turn["role"] == "user" for turn in prompt):
        raise InputError(
            "The prompt is missing", f"{path}:{number}: no turn of a user stands before the answers."
        )
    if any(len(side) != 1 or side[0]["role"] != "assistant" for side in sides):
        raise NotForCollections("dialogues that differ before the last answer")
    if any("tool_calls" in turn for turn in [*prompt, *(side[0] for side in sides)]):
        raise NotForCollections("with tool calls")
    return _turns(side_of(prompt, "prompt", path, number)), [side[0]["content"] for side in sides]


def _without(prompt: list[dict[str, Any]], side: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A side without the prompt, where it repeats it."""
    repeated = [said(turn) for turn in side[: len(prompt)]] == [said(turn) for turn in prompt]
    return side[len(prompt) :] if repeated and len(side) > len(prompt) else side


def _demonstration(prompt: tuple[Turn, ...], origin: str, written: NewAnswer) -> ImportedRow:
    return ImportedRow(
        prompt=prompt, origin=origin, answers=(written,), verdicts=(Verdicts(verdict="demonstration"),)
    )


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
        return msgspec.structs.replace(plain, verdicts=(Verdicts(verdict=verdict, ranks=ranks),))
    if row.get("scores") is not None:
        scores = row["scores"]
        if not isinstance(scores, list) or len(scores) != len(answers):
            raise InputError(
                "The scores do not match the answers",
                f"{where}: `scores` must have {len(answers)} numbers.",
                SHAPES_HELP,
            )
        values = tuple(_score(score, f"{where}: `scores`") for score in scores)
        return msgspec.structs.replace(plain, verdicts=(Verdicts(verdict="scores", scores=values),))
    return plain


def _listed_answer(value: Any, where: str) -> NewAnswer:
    row = value if isinstance(value, dict) else {"text": value}
    text = row.get("text", row.get("content"))
    if not isinstance(text, str):
        raise InputError(
            "An answer is not text", f"{where}: expected text, or an object with `text`.", SHAPES_HELP
        )
    if beyond := fields_beyond(row, ("text", "content", "role")):
        raise InputError(
            "A field is not understood",
            f"{where}: the answer has {', '.join(f'`{name}`' for name in beyond)}.",
            SHAPES_HELP,
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
    if not isinstance(side, str) and len(side) > 1:
        raise NotForCollections("dialogues that differ before the last answer")
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
    """Raise NotForCollections for an answer that is a call; thoughts are dropped, and counted by `has_thoughts`."""
    if "tool_calls" in (message.extra or {}):
        raise NotForCollections("with tool calls")


def has_thoughts(value: Any) -> bool:
    """Whether a row, in plain form or compared, has thoughts beside a text."""
    if isinstance(value, Comparison):
        return any(map(has_thoughts, (value.prompt, *value.answers)))
    if isinstance(value, dict):
        return bool(value.get("reasoning_content")) or any(map(has_thoughts, value.values()))
    return isinstance(value, list) and any(map(has_thoughts, value))


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

"""What people prefer, as methods see it: pairs of answers and unpaired preferences, and readers of the plain layouts.

A pair is `prompt`, `chosen` and `rejected`; a rated answer is `prompt`, `completion` and `label`. Each side is text as
it stands, or turns for the chat template. Where `prompt` is missing, the leading turns that both sides share are it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.reading import Reading, no_rows_left, plain_rows
from tuner_tui.data.rows.faults import RowFault, left_out_words
from tuner_tui.data.rows.turns import turns_of
from tuner_tui.data.rows.types import Message, kwargs_in, message_of, tools_in
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuner_tui.data.files.json_rows import Row

Turns = tuple[Message, ...]
Side = Turns | str
"""Turns for the chat template, or text as it stands."""
PAIRS_HELP = (
    "Rows need `prompt`, `chosen` and `rejected`, each as text or as turns; or `chosen` and `rejected` as turns that "
    "begin alike."
)
RATED_HELP = "Rows need `prompt`, `completion` and `label` (true for a good answer, false for a bad one)."
LABELS: dict[Any, bool] = {True: True, False: False, "true": True, "false": False}
"""What a label may be; 1 and 0 are true and false."""


@dataclass(frozen=True)
class PairExample:
    """Two answers to one prompt, of which the first is preferred; all three are turns, or all three are text."""

    line: int
    prompt: Side
    chosen: Side
    rejected: Side
    chosen_finished: bool = True
    """False when the answer was truncated: then its EOS token has no loss."""
    rejected_finished: bool = True
    tools: tuple[Any, ...] = ()
    """What the assistant may call, as the template takes it."""
    template_kwargs: dict[str, Any] | None = None
    """What else the row hands to the template, by name."""


@dataclass(frozen=True)
class RatedExample:
    """An answer to a prompt and whether it is desirable; both are turns, or both are text."""

    line: int
    prompt: Side
    completion: Side
    label: bool
    finished: bool = True
    """False when the answer was truncated: then its EOS token has no loss."""
    tools: tuple[Any, ...] = ()
    """What the assistant may call, as the template takes it."""
    template_kwargs: dict[str, Any] | None = None
    """What else the row hands to the template, by name."""


def is_pair(row: Row) -> bool:
    """Whether a row has the fields of a pair."""
    return "chosen" in row and "rejected" in row


def is_rated(row: Row) -> bool:
    """Whether a row has the fields of a rated answer."""
    return "completion" in row and "label" in row


def read_pairs(data: Path | Reading, limit: int | None = None) -> list[PairExample]:
    """All pairs of a data set, in whatever layout. Raises InputError that names file and line, also for none."""
    reading = data if isinstance(data, Reading) else Reading(data, "preference", limit)
    plain = plain_rows(reading)
    pairs = [pair_of(row, file, number) for file, number, row in plain.strict()]
    if not pairs:
        raise no_rows(reading, plain.left_out, PAIRS_HELP)
    return pairs


def no_rows(reading: Reading, left_out: Mapping[str, int], hint: str) -> InputError:
    """The error for a data set of which nothing is left."""
    if left_out:
        problem_text = f"{reading.path}: no answer is preferred in any row ({left_out_words(left_out)})."
        return InputError("No answer is preferred", problem_text, "Add rows with a preference.")
    return no_rows_left(reading, hint)


def read_rated(data: Path | Reading, limit: int | None = None) -> list[RatedExample]:
    """All unpaired preferences of a data set, in whatever layout.

    Raises InputError that names file and line, also for an empty file and for one in which all labels are the same.
    """
    reading = data if isinstance(data, Reading) else Reading(data, "rated", limit)
    rated = [rated_of(row, file, number) for file, number, row in plain_rows(reading).strict()]
    check_labels(rated, reading)
    return rated


def check_labels(rated: list[RatedExample], reading: Reading) -> None:
    """Raises InputError unless there are answers of both kinds."""
    if not rated:
        raise no_rows_left(reading, RATED_HELP)
    if len({example.label for example in rated}) == 1:
        only = str(rated[0].label).lower()
        raise InputError(
            "All labels are the same",
            f"{reading.path}: from line {rated[0].line} to line {rated[-1].line} every label is {only}.",
            "Add answers with the other label; to train on good answers alone, use method sft.",
        )


def pair_of(row: Row, path: Path, number: int) -> PairExample:
    """One row as a pair. Raises InputError that names file, line and field."""
    if not is_pair(row):
        missing = next(name for name in ("chosen", "rejected") if name not in row)
        raise InputError("A field is missing", f"{path}:{number}: the row has no `{missing}`.", PAIRS_HELP)
    chosen = side_of(row["chosen"], "chosen", path, number)
    rejected = side_of(row["rejected"], "rejected", path, number)
    prompt = side_of(row["prompt"], "prompt", path, number) if _has_prompt(row) else None
    return replace(
        make_pair(prompt, chosen, rejected, path, number),
        chosen_finished=row.get("chosen_finished") is not False,
        rejected_finished=row.get("rejected_finished") is not False,
        tools=tools_in(row),
        template_kwargs=kwargs_in(row),
    )


def make_pair(prompt: Side | None, chosen: Side, rejected: Side, path: Path, number: int) -> PairExample:
    """A checked pair; sides that repeat the prompt lose it, and without a prompt their common start becomes it.

    Raises InputError that names file and line for a prompt that is missing, sides that are equal or empty, and turns
    that do not match.
    """
    where = f"{path}:{number}"
    if isinstance(prompt, tuple):
        chosen, rejected = _as_answer(chosen), _as_answer(rejected)
    if isinstance(chosen, str) and isinstance(rejected, str):
        text = _text_prompt(prompt, where, "`chosen` and `rejected`", PAIRS_HELP)
        example = PairExample(number, text, chosen, rejected)
    elif isinstance(chosen, tuple) and isinstance(rejected, tuple):
        if prompt is None:
            prompt = _common_turns(chosen, rejected)
        turns = as_turns(prompt)
        chosen, rejected = _without(turns, chosen), _without(turns, rejected)
        _check_prompt(turns, where, PAIRS_HELP)
        example = PairExample(number, turns, chosen, rejected)
        _check_answer(chosen, "chosen", where)
        _check_answer(rejected, "rejected", where)
        if _user_turns(chosen) != _user_turns(rejected):
            raise InputError(
                "The turns of a pair are unequal",
                f"{where}: after the prompt `chosen` has {_roles(chosen)} and `rejected` has {_roles(rejected)}.",
                "Both sides must answer the same conversation, with as many turns of the user.",
            )
    else:
        raise InputError(
            "The turns of a pair are unequal",
            f"{where}: one of `chosen` and `rejected` is text, the other a list of turns.",
            PAIRS_HELP,
        )
    if _said(example.chosen) == _said(example.rejected):
        raise InputError(
            "Chosen and rejected are the same",
            f"{where}: `chosen` and `rejected` are the same, so nothing is preferred.",
            "Leave the row out.",
        )
    return example


def rated_of(row: Row, path: Path, number: int) -> RatedExample:
    """One row as a rated answer. Raises InputError that names file, line and field."""
    for name in ("completion", "label"):
        if name not in row:
            raise InputError("A field is missing", f"{path}:{number}: the row has no `{name}`.", RATED_HELP)
    completion = side_of(row["completion"], "completion", path, number)
    prompt = side_of(row["prompt"], "prompt", path, number) if _has_prompt(row) else None
    rated = make_rated(prompt, completion, label_of(row["label"], path, number), path, number)
    return replace(
        rated,
        finished=row.get("completion_finished") is not False,
        tools=tools_in(row),
        template_kwargs=kwargs_in(row),
    )


def make_rated(prompt: Side | None, completion: Side, label: bool, path: Path, number: int) -> RatedExample:
    """A checked rated answer; turns without a prompt are split before the last one. Raises InputError."""
    where = f"{path}:{number}"
    if isinstance(prompt, tuple):
        completion = _as_answer(completion)
    if isinstance(completion, str):
        text = _text_prompt(prompt, where, "`completion`", RATED_HELP)
        return RatedExample(number, text, completion, label)
    if prompt is None:
        prompt, completion = completion[:-1], completion[-1:]
    turns = as_turns(prompt)
    completion = _without(turns, completion)
    _check_prompt(turns, where, RATED_HELP)
    _check_answer(completion, "completion", where)
    return RatedExample(number, turns, completion, label)


def label_of(value: Any, path: Path, number: int) -> bool:
    """A label as true or false. Raises InputError that names file and line."""
    word = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(word, (bool, int, float, str)) or word not in LABELS:
        raise InputError("Unknown label", f"{path}:{number}: `label` is {value!r}.", RATED_HELP)
    return LABELS[word]


def side_of(value: Any, name: str, path: Path, number: int) -> Side:
    """A field as text or turns. Raises InputError that names file, line and field."""
    where = f"{path}:{number}: `{name}`"
    if isinstance(value, str):
        if not value.strip():
            raise InputError("A field is empty", f"{where} holds no text.")
        return value
    if not isinstance(value, list) or not value:
        found = "empty" if isinstance(value, list) else type(value).__name__
        raise InputError("A field is neither text nor turns", f"{where} is {found}.")
    try:
        return tuple(map(message_of, turns_of(value, name)))
    except RowFault as fault:
        raise InputError(fault.title, f"{path}:{number}: {fault.message}", fault.hint) from fault


def as_turns(prompt: Side) -> Turns:
    """A prompt as turns; text becomes what the user says."""
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt


def _as_answer(side: Side) -> Turns:
    return (Message("assistant", side),) if isinstance(side, str) else side


def _said(side: Side) -> list[Any]:
    """What a side says, comparable."""
    return [side.strip()] if isinstance(side, str) else [turn.said for turn in side]


def _has_prompt(row: Row) -> bool:
    return row.get("prompt") is not None


def _text_prompt(prompt: Side | None, where: str, sides: str, hint: str) -> str:
    if not isinstance(prompt, str):
        raise InputError("The prompt is missing", f"{where}: {sides} stand without a `prompt`.", hint)
    return prompt


def _check_prompt(turns: Turns, where: str, hint: str) -> None:
    if not any(turn.role == "user" for turn in turns):
        raise InputError(
            "The prompt is missing", f"{where}: no turn of a user stands before the answer.", hint
        )


def _check_answer(turns: Turns, name: str, where: str) -> None:
    if not turns or turns[0].role not in ("assistant", "tool") or turns[-1].role != "assistant":
        found = _roles(turns) if turns else "nothing"
        raise InputError(
            "A side is not an answer",
            f"{where}: after the prompt `{name}` has {found}; an answer begins and ends with the assistant.",
            "Both sides must follow the same prompt and end with the assistant's turn.",
        )
    last = turns[-1]
    if not last.content.strip() and not (last.extra or {}).get("tool_calls"):
        raise InputError(
            "A field is empty", f"{where}: the answer in `{name}` holds neither text nor a call."
        )
    if any(turn.role == "assistant" and not turn.is_trained for turn in turns):
        raise InputError(
            "A part of a side cannot be left out",
            f"{where}: a turn of `{name}` is marked as not to be trained, and a side is compared as a whole.",
            "Move the turn into `prompt`, or remove the mark.",
        )


def _common_turns(chosen: Turns, rejected: Turns) -> Turns:
    """The leading turns that both sides share, up to the last before an answer."""
    shared = 0
    for left, right in zip(chosen[:-1], rejected[:-1], strict=False):
        if left.said != right.said:
            break
        shared += 1
    return chosen[:shared]


def _without(prompt: Turns, side: Turns) -> Turns:
    """A side without the prompt that some data sets repeat in it."""
    prompt_texts, answered = [turn.said for turn in prompt], [turn.said for turn in side]
    repeats = next(
        (n for n in range(len(prompt), 0, -1) if answered[:n] == prompt_texts[len(prompt_texts) - n :]), 0
    )
    return side[repeats:]


def _user_turns(turns: Turns) -> int:
    """How often the user speaks; calls of tools and their results may differ between sides."""
    return sum(turn.role == "user" for turn in turns)


def _roles(turns: Turns) -> str:
    return ", ".join(turn.role for turn in turns)

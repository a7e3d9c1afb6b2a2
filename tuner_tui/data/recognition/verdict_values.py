"""One verdict of one annotator as a vote: a word, a number, a ranking, or an export's object around one of these."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner_tui.data.recognition.verdict_words import word_of
from tuner_tui.data.rows.comparison import Vote, choice, tie
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.answer_columns import Answers

WRAPPERS = (
    "value",
    "selected",
    "choices",
    "choice",
    "rating",
    "number",
    "text",
    "label",
    "labels",
    "ranker",
    "taxonomy",
)
"""Keys under which exports have a verdict within an object."""
NOT_STATED = "The direction is not stated"
CODES_HINT = "Where numbers are codes, such as 2 for a tie, write words in their place: A, B, tie, both bad."
BOOLEANS = {"true": True, "false": False}
"""As CSV files have them."""


class Scale(NamedTuple):
    """Numbers below the middle are for one of two answers, above it for the other; the middle is a tie."""

    lower_is_first: bool
    middle: float
    least: float = -math.inf
    most: float = math.inf
    slight: float = 0.0
    """Up to this far from the middle a preference is slight."""

    def within_usual_ends(self, values: Sequence[float | None]) -> Scale:
        """The same with the ends of two numbers that its middle is between, so that a third, a code, is refused.

        A middle of 0.5 is that of 0 and 1, and one of 1.5 that of 1 and 2, or of 0 to 3 where `values` go that far;
        further values are of a scale that only the person knows.
        """
        numbers = [value for value in values if value is not None]
        if not numbers or min(numbers) < 0 or max(numbers) > 3:
            return self
        ends = {0.5: (0.0, 1.0), 1.5: (0.0, 3.0) if max(numbers) > 2 else (1.0, 2.0)}.get(self.middle)
        return self if ends is None else self._replace(least=ends[0], most=ends[1])


Numbers = Scale | Literal["marks", "alpaca", "flag", "unknown"]
"""How a number names an answer: by a scale, by the mark in the answer's name, 1 or 2 with what lies between
(AlpacaEval), 1 for the first and 0 for the second, or in no known way."""


@dataclass(frozen=True)
class ValueReader:
    """Reads the values of a column of verdicts."""

    column: str
    answers: Answers
    numbers: Numbers
    models: tuple[str, ...] | None = None
    """Columns with the models' names, by which a winner may be named."""

    def vote(self, value: Any, row: Row) -> Vote | None:
        """A value as a vote; None where it holds none. Raises RowFault for one that cannot be understood."""
        value = unwrapped(value)
        if isinstance(value, str):
            value = BOOLEANS.get(value.strip().lower(), value)
        if value is None or value == [] or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str) and (number := _number(value)) is not None:
            return self._of_number(number)
        if isinstance(value, str):
            return self._of_text(value, row)
        if isinstance(value, bool):
            if self.numbers == "flag" or isinstance(self.numbers, Scale):
                return self._of_number(float(value))
            raise not_stated(self.column, self.answers, value)
        if isinstance(value, int | float):
            return self._of_number(float(value))
        if isinstance(value, list) and (ranked := self._ranking(value)) is not None:
            return ranked
        raise self._unknown(value)

    def is_readable(self, value: Any, row: Row) -> bool:
        """Whether a value says which answer is better, or that none is."""
        try:
            return self.vote(value, row) is not None
        except RowFault as fault:
            return fault.title == NOT_STATED

    def _of_text(self, text: str, row: Row) -> Vote | None:
        count = len(self.answers.names)
        word = word_of(text, self.answers)
        match word.kind:
            case "choice":
                return choice(count, word.place, "slight" if word.is_slight else "clear")
            case "tie":
                return tie(count)
            case "both bad":
                return tie(count, is_bad=True)
            case "none":
                return None
        for names in (self.models or (), self.answers.names):  # a model's name, or the answer itself
            same = [place for place, name in enumerate(names) if str(row.get(name)).strip() == text.strip()]
            if len(same) == 1:
                return choice(count, same[0])
        raise not_stated(self.column, self.answers, text) if word.kind == "number" else self._unknown(text)

    def _of_number(self, number: float) -> Vote | None:
        count = len(self.answers.names)
        match self.numbers:
            case Scale() as scale:
                if not scale.least <= number <= scale.most:
                    raise RowFault(
                        "A verdict is outside its scale",
                        f"`{self.column}` is {number:g}; expected {scale.least:g} to {scale.most:g}.",
                        CODES_HINT,
                    )
                if number == scale.middle:
                    return tie(count)
                strength = "slight" if abs(number - scale.middle) <= scale.slight else "clear"
                return choice(count, int((number < scale.middle) != scale.lower_is_first), strength)  # type: ignore[arg-type]
            case "flag" if number in (0, 1):
                return choice(count, 0 if number else 1)
            case "alpaca" if number in (0, 1.5):
                return tie(count)
            case "alpaca" if 1 <= number <= 2:
                return choice(count, int(number > 1.5))
            case "marks" if f"{number:g}" in self.answers.marks:
                return choice(count, self.answers.marks.index(f"{number:g}"))
        raise not_stated(self.column, self.answers, int(number) if number.is_integer() else number)

    def _ranking(self, value: list[Any]) -> Vote | None:
        """A list of all answers, the best first, or of each with its rank; None for any other list."""
        pairs = [
            (each.get("value"), each.get("rank")) if isinstance(each, dict) else (each, None)
            for each in value
        ]
        names = [name for name, _ in pairs if isinstance(name, str)]
        if len(names) < 2 or len(names) < len(pairs):
            return None
        words = [word_of(name, self.answers) for name in names]
        if {word.place for word in words} != {*range(len(self.answers.names))} or len(words) != len(
            self.answers.names
        ):
            return None
        ranks = [place if rank is None else rank for place, (_, rank) in enumerate(pairs, 1)]
        if not all(isinstance(rank, int | float) for rank in ranks):
            return None
        order = sorted(set(ranks))
        by_place = {word.place: order.index(rank) + 1 for word, rank in zip(words, ranks, strict=True)}
        return Vote(tuple(by_place[place] for place in range(len(words))))

    def _unknown(self, value: Any) -> RowFault:
        shown = repr(value)
        names = ", ".join(self.answers.names)
        return RowFault(
            "Unknown choice",
            f"`{self.column}` is {shown if len(shown) < 80 else f'{shown[:79]}…'}; expected one of {names}, or a tie.",
            "Change the value, or leave the row out.",
        )


def not_stated(column: str, answers: Answers, value: Any) -> RowFault:
    """The fault of a number of which nothing says what answer it is for."""
    first, second = answers.names[:2]
    middle = "0.5" if isinstance(value, bool) else "0"
    line = f"verdict = {{{column}}} < {middle}"
    return RowFault(
        NOT_STATED,
        f"`{column}` is {value!r}, and nothing says whether that is for `{first}` or for `{second}`.",
        f"State it with --map '{line}' (in run.toml: data.mapping = [\"{line}\"]): below {middle} `{first}` is "
        f"preferred, above it `{second}`, and {middle} itself is a tie. Put the scale's middle in place of {middle}, "
        f"and > in place of < where it runs the other way. {CODES_HINT}",
    )


def stated(votes: list[Vote], annotators: list[Any]) -> tuple[Vote, ...]:
    """Votes with the names of those who gave them."""
    names = [str(name) if isinstance(name, str | int) and str(name).strip() else "" for name in annotators]
    names += [""] * (len(votes) - len(names))
    return tuple(replace(vote, annotator=name) for vote, name in zip(votes, names, strict=False))


def unwrapped(value: Any) -> Any:
    """What stands within an export's objects and lists of one, also where these are written as text."""
    for _ in range(6):
        if (
            isinstance(value, str)
            and value.lstrip()[:1] in ("[", "{")
            and not value.lstrip().startswith("[[")
        ):
            decoded = as_object(value)
            if decoded is None:
                return value
            value = decoded
        elif isinstance(value, dict):
            if _is_ranking(value):
                return [
                    {"value": name, "rank": rank}
                    for name, rank in zip(value["value"], value["rank"], strict=True)
                ]
            key = next((key for key in WRAPPERS if value.get(key) is not None), None)
            if key is None:
                return value
            value = value[key]
        elif isinstance(value, list) and len(value) == 1:
            [value] = value
        else:
            return value
    return value


def _is_ranking(value: Row) -> bool:
    """Whether an object has a list of names and one of their ranks, as Argilla's rows on the Hub."""
    names, ranks = value.get("value"), value.get("rank")
    return isinstance(names, list) and isinstance(ranks, list) and len(names) == len(ranks)


def _number(text: str) -> float | None:
    try:
        number = float(text.strip())
    except ValueError:
        return None
    return number if math.isfinite(number) else None

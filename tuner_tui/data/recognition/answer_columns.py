"""Columns that hold answers to one prompt: names that differ in a mark alone, such as response_a and response_b."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.data.recognition.columns import Columns, Kind

MARKS: dict[str, tuple[str, ...]] = {
    "letters": tuple("abcdefghij"),
    "digits": tuple(map(str, range(10))),
    "sides": ("left", "right"),
    "ordinals": ("first", "second", "third", "fourth"),
    "numbers": ("one", "two", "three", "four"),
}
"""Families of marks, each in order."""
ANSWER_WORDS = (
    "response", "answer", "output", "completion", "generation", "reply", "ref", "summary", "candidate", "assistant",
    "continuation", "translation", "solution", "text", "conversation", "messages", "dialogue", "chat",
)  # fmt: skip
"""Words of which one is in the name of an answer, the likeliest first."""
OTHER_WORDS = {
    "model", "models", "id", "ids", "name", "score", "scores", "rating", "ratings", "rank", "tokens", "length",
    "reason",
    "reasoning", "feedback", "critique", "comment", "comments", "explanation", "rationale", "prompt", "question", "url",
    "source", "label", "labels", "category", "type", "winner", "wins", "safe", "system", "time", "date", "language",
    "quotes", "metadata", "annotator", "annotation", "suggestion", "users", "status", "agent", "thinking",
}  # fmt: skip
"""Words in the names of what stands beside an answer."""
MOST_ANSWERS = 10
LONGEST_NAME = 80
_TOKENS = re.compile(r"[a-z]+|\d+")
_KINDS: tuple[Kind, ...] = ("text", "turns", "turn", "texts")


@dataclass(frozen=True)
class Answers:
    """Columns of answers, in the order of their marks."""

    names: tuple[str, ...]
    marks: tuple[str, ...]
    """What tells each from the others, such as "a" or "1"."""
    family: str
    """The marks' family."""

    @property
    def is_numbered(self) -> bool:
        return self.family == "digits"

    def place_of_name(self, name: str) -> int | None:
        """Which of them a column's name, in any writing, is."""
        wanted = tokens_of(name)
        if not wanted:
            return None
        return next((place for place, each in enumerate(self.names) if tokens_of(each) == wanted), None)

    def place_of_mark(self, mark: str) -> int | None:
        """Which of them a mark is for; a letter, a side or an ordinal counts from the first. None for any other."""
        if mark in self.marks:
            return self.marks.index(mark)
        for family, marks in MARKS.items():
            if family != "digits" and mark in marks and marks.index(mark) < len(self.names):
                return marks.index(mark)
        return None


def tokens_of(name: str) -> tuple[str, ...]:
    """The words and numbers of a column's name; none of one that is too long for a name."""
    return tuple(_TOKENS.findall(name.lower())) if len(name) <= LONGEST_NAME else ()


def answer_columns(columns: Columns) -> Answers | None:
    """The likeliest answers of a sample of rows, two or more; None where there are none."""
    groups: defaultdict[tuple[str, tuple[str, ...], int], dict[int, str]] = defaultdict(dict)
    for name in columns.names:
        if columns.kinds[name] not in _KINDS:
            continue
        tokens = tokens_of(name)
        for at, token in enumerate(tokens):
            rest = (*tokens[:at], *tokens[at + 1 :])
            if not _may_be_answer(rest):
                continue
            for family, marks in MARKS.items():
                if token in marks:
                    groups[family, rest, at].setdefault(marks.index(token), name)
    families = [
        Answers(tuple(names), tuple(MARKS[family][place] for place in places), family)
        for (family, _, _), group in groups.items()
        if (places := _run(group, family)) and (names := [group[place] for place in places])
    ]
    return min(families, key=_likeliness, default=None)


def beside(columns: Columns, answers: Answers, words: tuple[tuple[str, ...], ...]) -> tuple[str, ...] | None:
    """Columns of which each belongs to one answer, such as model_a and model_b; None where one is missing."""
    by_tokens = {
        frozenset(tokens_of(name)): name for name in reversed(columns.names) if name not in answers.names
    }
    for wanted in words:
        for own in ([(mark,) for mark in answers.marks], [tokens_of(name) for name in answers.names]):
            names = [by_tokens.get(frozenset((*wanted, *own_tokens))) for own_tokens in own]
            if all(names):
                return tuple(map(str, names))
    return None


def _may_be_answer(words: tuple[str, ...]) -> bool:
    """Whether what is left of a name without its mark is that of an answer."""
    if not words:
        return True
    if {*words} & OTHER_WORDS - {"model"} or words[-1] == "model":
        return False
    return any(word in ANSWER_WORDS or word.removesuffix("s") in ANSWER_WORDS for word in words)


def _run(group: dict[int, str], family: str) -> list[int]:
    """The places from the first on without a gap, two or more; digits may begin at 1."""
    begin = 0 if 0 in group or family != "digits" else 1
    places: list[int] = []
    while begin + len(places) in group and len(places) < MOST_ANSWERS:
        places.append(begin + len(places))
    return places if len(places) > 1 else []


def _likeliness(answers: Answers) -> tuple[int, int, int]:
    words = tokens_of(answers.names[0])
    singular = {word.removesuffix("s") for word in words} | {*words}
    best = next((n for n, word in enumerate(ANSWER_WORDS) if word in singular), len(ANSWER_WORDS))
    return best, len(words), -len(answers.names)

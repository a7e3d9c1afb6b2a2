"""Answers to one prompt with what annotators say of them, as an export holds them: ranks, ties, both bad, scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui.data.rows.faults import NothingPreferred

if TYPE_CHECKING:
    from collections.abc import Sequence

Side = str | list[dict[str, Any]]
"""Text, or turns in plain form."""


@dataclass(frozen=True)
class Vote:
    """One annotator's verdict."""

    ranks: tuple[int, ...]
    """Of each answer: 1 is best; equal ranks are a tie."""
    is_bad: bool = False
    """Whether all of them are bad."""
    strength: Literal["clear", "slight"] = "clear"
    annotator: str = ""
    """As the file names them; empty where it does not."""

    @property
    def is_tie(self) -> bool:
        return len(set(self.ranks)) == 1


@dataclass(frozen=True)
class Comparison:
    """One row."""

    prompt: Side | None
    """None where each answer is a whole dialogue."""
    answers: tuple[Side, ...]
    votes: tuple[Vote, ...] = ()
    """None: it is not annotated."""
    suggestions: tuple[Vote, ...] = ()
    """Of models, which `annotator` names."""
    scores: tuple[int, ...] = ()
    """Of each answer, from 1 to 5, where it is scored and not compared."""
    models: tuple[str, ...] = ()
    """Who wrote each answer, where the file says so."""


def choice(count: int, place: int, strength: Literal["clear", "slight"] = "clear") -> Vote:
    """The vote for one of some answers over all others."""
    return Vote(tuple(1 if each == place else 2 for each in range(count)), strength=strength)


def tie(count: int, *, is_bad: bool = False) -> Vote:
    """The vote that no answer is better."""
    return Vote((1,) * count, is_bad)


def by_worth(worth: Sequence[float]) -> Vote:
    """The vote of numbers, the higher the better; equal ones share a rank."""
    order = sorted(set(worth), reverse=True)
    return Vote(tuple(order.index(each) + 1 for each in worth))


def best_and_worst(votes: Sequence[Vote], field: str) -> tuple[int, int]:
    """The places of the best and the worst answer by the mean rank of all votes, which for two answers is the majority.

    Raises NothingPreferred for a tie and for no votes; `field` says so.
    """
    if not votes:
        raise NothingPreferred("not annotated", f"`{field}` holds no verdict.")
    sums = [sum(ranks) for ranks in zip(*(vote.ranks for vote in votes), strict=True)]
    if max(sums) == min(sums):
        is_bad = all(vote.is_bad for vote in votes)
        words = "that both are bad" if is_bad else "that it is a tie"
        raise NothingPreferred("both bad" if is_bad else "tie", f"`{field}` says {words}.")
    return sums.index(min(sums)), sums.index(max(sums))

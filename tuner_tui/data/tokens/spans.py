"""Where the answers stand in a conversation as the chat template writes it; needs no generation markers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Turn = dict[str, Any]
Render = Callable[[Sequence[Turn], bool], str]
"""(turns, asks for an answer) -> what the template writes."""


class RewritesTurns(ValueError):
    """What a template writes for earlier turns changes with later ones, so that an answer cannot be located."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


@dataclass(frozen=True)
class Rendered:
    """A conversation, or its beginning up to one answer, as text, with the character span of each trained answer."""

    text: str
    spans: tuple[tuple[int, int], ...]


def render_answers(turns: Sequence[Turn], render: Render, end_token: str | None) -> list[Rendered]:
    """The conversation once with all its answers; or once for each answer, where the template rewrites earlier turns.

    Each answer is what the template adds to the turns before it, including its EOS token. Templates of thinking
    models leave out the thoughts of earlier turns: then each answer is trained on after the turns as the model will see
    them when it gives that answer. Raises RewritesTurns when even that cannot locate the answer.
    """
    answers = [
        place for place, turn in enumerate(turns) if turn["role"] == "assistant" and turn.get("weight") != 0
    ]
    whole = render(turns, False)
    parts = [_answer(turns, place, render, end_token) for place in answers]
    spans = [_within(whole, after, span, end_token) for after, span in parts]
    if None not in spans:
        return [Rendered(whole, tuple(span for span in spans if span is not None))]
    return [Rendered(after, (span,)) for after, span in parts]


def _within(whole: str, after: str, span: tuple[int, int], end_token: str | None) -> tuple[int, int] | None:
    """An answer's span in the full conversation; None where that does not begin with the turns up to the answer.

    Some templates end every conversation with the EOS token, so that it follows the last answer only.
    """
    if whole.startswith(after):
        return span
    kept = after.removesuffix(end_token or "")
    return (span[0], min(span[1], len(kept))) if kept != after and whole.startswith(kept) else None


def _answer(
    turns: Sequence[Turn], place: int, render: Render, end_token: str | None
) -> tuple[str, tuple[int, int]]:
    """The text up to an answer, and the answer's span in it."""
    after = render(turns[: place + 1], False)
    begin = answer_begin(render(turns[:place], False), render(turns[:place], True), after)
    if begin is None:
        raise RewritesTurns(place)
    end = len(after)
    if end_token:
        found = after.rfind(end_token, begin)
        end = found + len(end_token) if found >= 0 else end
    return after, (begin, end)


def answer_begin(asked: str, asks_for_answer: str, answered: str) -> int | None:
    """Where an answer begins in what the template writes with it; None when what stands before it is rewritten.

    `asked` and `asks_for_answer` are the turns before it without and with the words that ask for an answer. Some
    templates ask with more (an opened thought) than they write before a given answer.
    """
    begin = _common(asks_for_answer, answered)
    return None if begin == 0 or begin < _common(asked, answered) else begin


def _common(one: str, two: str) -> int:
    """How many characters two texts share at their beginning."""
    if two.startswith(one):
        return len(one)
    return next(
        (place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )

"""What a row says, part by part, against what the chat template writes of it.

A part that is written may be hidden in an escape or a quotation, and one that is not may stand elsewhere by chance
("Oslo" of a call that is dropped stands in the question, too). So each part is marked with words that occur nowhere
else (see `marked_parts`), and the marks are looked for in what the template writes. What an answer says must stand
within the text that is trained, and all else somewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tuner_tui.data.tokens.marked_parts import (
    CONTENT,
    KWARGS,
    THOUGHTS,
    TOOLS,
    Marked,
    Part,
    has_words,
    marked,
    pieces_of,
    says_nothing,
)
from tuner_tui.data.tokens.spans import Rendered, RewritesTurns, is_trained, render_answers
from tuner_tui.errors import InputError
from tuner_tui.limited.limits import LimitReached

Turn = dict[str, Any]
Render = Callable[[list[Turn], bool, Sequence[Any], Mapping[str, Any]], str]
"""(turns, asks for an answer, tools, further names) -> what the template writes. Raises InputError where it refuses."""


class Dropped(NamedTuple):
    """A part of a conversation that the template leaves out."""

    place: int | None
    """The turn, counted from 0; None for the tools and for what else the row hands to the template."""
    what: str
    """In words, such as "what the user says" or "the assistant's reasoning"."""
    is_minor: bool = False
    """Whether it is a detail, such as who of several users speaks, a tool's `minimum`, or a template's switch."""


class Conversed(NamedTuple):
    """A conversation, and which of its text is trained."""

    turns: Sequence[Turn]
    tools: Sequence[Any] = ()
    template_kwargs: Mapping[str, Any] = {}
    """What else the row hands to the template."""
    answer_from: int | None = None
    """The turn from which on all turns are one answer, as of a pair's side."""
    is_trained_whole: bool = False
    """Whether all text is trained, not the answers alone."""


class _Written(NamedTuple):
    """What a template writes of a conversation."""

    whole: str
    trained: dict[int, str]
    """The text that is trained of each answer, by its turn; empty where all of the text is."""

    def of(self, place: int | None) -> str:
        """The text that a part of that turn must stand in."""
        return self.whole if place is None else self.trained.get(place, self.whole)


def dropped_parts(
    conversed: Conversed,
    render: Render,
    *,
    names_read: frozenset[str] | None = None,
    end_token: str | None = None,
) -> list[Dropped]:
    """What the template writes nowhere, in the order of the turns.

    `names_read` are the variables that the template asks for, where that is known. Templates of thinking models leave
    out the thoughts of earlier turns: of answers that are trained, each as the last turn, the thoughts are looked for
    there; those of turns that are context are missing for the model that answers, too. Raises InputError where the
    template refuses the conversation, and RewritesTurns where its answers cannot be located.
    """
    unread = [
        Dropped(None, _kwarg_words(name), is_minor=not has_words(value))
        for name, value in conversed.template_kwargs.items()
        if not says_nothing(value) and names_read is not None and name not in names_read
    ]
    made = marked(conversed.turns, conversed.tools, conversed.template_kwargs)
    missing = _missing(made, conversed, render, end_token)
    tools_gone = {part.group for part in missing if part.kind == TOOLS and part.is_named}
    dropped = [
        Dropped(part.place, _words(part, conversed.turns), part.is_minor)
        for part in missing
        if (part.kind != THOUGHTS or _carries_loss(conversed, part))
        and not (part.kind == TOOLS and part.group in tools_gone and not part.is_named)
    ]
    return [*dict.fromkeys([*dropped, *unread])]


def lacks_text(
    turns: Sequence[Turn],
    rendered: Sequence[Rendered],
    answer_from: int | None = None,
    *,
    is_trained_whole: bool = False,
) -> bool:
    """Whether what is rendered lacks a text of the turns, word for word, an answer's within the text that is trained.

    A quick look, which also suspects a template that changes a text; `dropped_parts` then tells.
    """
    whole = rendered[-1].text
    trained = (each.text[begin:end] for each in rendered for begin, end in each.spans)
    side = next(trained, whole) if answer_from is not None else ""
    for place, turn in enumerate(turns):
        is_answer = is_trained(turn) if answer_from is None else place >= answer_from
        if not is_answer or is_trained_whole:
            text = whole
        else:
            text = side or next(trained, whole)
        content = turn["content"].strip()
        if not content or content in text:
            continue
        for piece in pieces_of(turn["content"], turn["role"]):
            if not _is_written(piece.text.strip(), text) and (is_answer or not piece.is_thought):
                return True
    return False


def _is_answer(conversed: Conversed, place: int) -> bool:
    turn = conversed.turns[place]
    if conversed.answer_from is not None:
        return place >= conversed.answer_from
    return is_trained(turn)


def _carries_loss(conversed: Conversed, part: Part) -> bool:
    return part.place is None or (
        _is_answer(conversed, part.place) and is_trained(conversed.turns[part.place])
    )


def _missing(made: Marked, conversed: Conversed, render: Render, end_token: str | None) -> list[Part]:
    """The parts that are not where they must be in what the template writes."""
    own = _written(conversed.turns, conversed.tools, conversed.template_kwargs, conversed, render, end_token)
    try:
        written = _written(made.turns, made.tools, made.template_kwargs, conversed, render, end_token)
    except LimitReached:
        raise
    except (InputError, RewritesTurns):  # it looks into what the turns say: their own words are looked for
        return [part for part in made.parts if not _is_written(part.text, own.of(part.place))]
    return [part for part in made.parts if not part.is_in(written.of(part.place))]


def _written(
    turns: Sequence[Turn],
    tools: Sequence[Any],
    kwargs: Mapping[str, Any],
    conversed: Conversed,
    render: Render,
    end_token: str | None,
) -> _Written:
    def write(some: Sequence[Turn], asks: bool) -> str:
        return render(list(some), asks, tools, kwargs)

    answers = [place for place in range(len(turns)) if _is_answer(conversed, place)]
    if conversed.is_trained_whole or not answers:
        return _Written(write(turns, False), {})
    parts = render_answers(turns, write, end_token, conversed.answer_from)
    spans = [part.text[begin:end] for part in parts for begin, end in part.spans]
    if conversed.answer_from is not None:
        spans *= len(answers)
    return _Written(parts[-1].text, dict(zip(answers, spans, strict=True)))


def _is_written(part: str, text: str) -> bool:
    forms = (part, *(json.dumps(part, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)))
    return any(form in text for form in forms)


def _words(part: Part, turns: Sequence[Turn]) -> str:
    if part.place is None:
        if part.kind == KWARGS:
            return _kwarg_words(part.field)
        return f"{part.field} of the tools" if part.field else "the tools"
    role = turns[part.place]["role"]
    return f"what the {role} says" if part.kind == CONTENT else f"the {role}'s {part.kind}"


def _kwarg_words(name: str) -> str:
    return f"`{name}` of chat_template_kwargs"

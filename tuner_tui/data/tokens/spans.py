"""Where the answers stand in a conversation as the chat template writes it; needs no generation markers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuner_tui.data.rows.flags import OF_PROMPT
from tuner_tui.errors import InputError

Turn = dict[str, Any]
Render = Callable[[Sequence[Turn], bool], str]
"""(turns, asks for an answer) -> what the template writes. Raises InputError for turns that it refuses."""


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


def is_trained(turn: Turn) -> bool:
    """Whether a turn in plain form is an answer that is not marked as not to be trained."""
    return turn["role"] == "assistant" and turn.get("weight") != 0


def is_marked(turn: Turn) -> bool:
    """Whether the row says that a turn, of any role, is not to be trained; a prompt's answers are context only."""
    return turn.get("weight") == 0 and not turn.get(OF_PROMPT)


def render_answers(
    turns: Sequence[Turn],
    render: Render,
    end_token: str | None,
    answer_from: int | None = None,
    *,
    is_finished: bool = True,
) -> list[Rendered]:
    """The conversation once with all its answers; or once for each answer, where the template rewrites earlier turns.

    Each answer is what the template adds to the turns before it, including its EOS token. Templates of thinking
    models leave out the thoughts of earlier turns: then each answer is trained on after the turns as the model will see
    them when it gives that answer. With `answer_from`, all turns from that one on are a single answer, as of a pair's
    side; without its EOS token where it is not finished. Raises RewritesTurns when even that cannot locate the answer.
    """
    whole = render(turns, False)
    if answer_from is not None:
        begin, end = _span(turns, answer_from, len(turns), whole, render, end_token, reaches_end=True)
        if not is_finished:
            end = _unfinished_end(whole, begin, end, turns[-1]["content"].strip(), end_token)
        return [Rendered(whole[:end], ((begin, end),))]
    answers = [place for place, turn in enumerate(turns) if is_trained(turn)]
    parts = [_answer(turns, place, render, end_token) for place in answers]
    spans = [_within(whole, after, span, end_token) for after, span in parts]
    if None not in spans:
        return [Rendered(whole, tuple(span for span in spans if span is not None))]
    return [Rendered(after, (span,)) for after, span in parts]


def render_marked(turns: Sequence[Turn], render: Render, end_token: str | None) -> Rendered:
    """The conversation, with the span of each turn of any role that is marked as not to be trained.

    An answer's span is as `render_answers` has it; another turn's is what it says, with the EOS token that closes it.
    A turn that the template does not write has none, and of an answer that it writes anew when others follow, what it
    says. Raises RewritesTurns where such an answer has calls.
    """
    whole = render(turns, False)
    spans = []
    for place, turn in enumerate(turns):
        if not is_marked(turn):
            continue
        if turn["role"] == "assistant":
            after, span = _answer(turns, place, render, end_token)
            if (within := _within(whole, after, span, end_token)) is not None:
                spans.append(within)
                continue
            if turn.get("tool_calls"):
                raise RewritesTurns(place)
        try:
            begin, end = _content_span(turns, place, len(turns), whole, render)
        except RewritesTurns:  # it is not written
            continue
        if begin < end:
            following = _following(turns, place, whole, render)
            closing = whole.find(end_token, end, following) if end_token else -1
            spans.append((begin, closing + len(end_token or "") if closing >= 0 else end))
    return Rendered(whole, tuple(spans))


def _following(turns: Sequence[Turn], place: int, whole: str, render: Render) -> int:
    """Where the next turn that is written begins to say something; the text's end for the last one."""
    for later in range(place + 1, len(turns)):
        try:
            return _content_span(turns, later, len(turns), whole, render)[0]
        except RewritesTurns:
            continue
    return len(whole)


def _within(whole: str, after: str, span: tuple[int, int], end_token: str | None) -> tuple[int, int] | None:
    """An answer's span in the full conversation; None where that does not begin with the turns up to the answer.

    Some templates end every conversation with the EOS token, so that it follows the last answer only.
    """
    if whole.startswith(after):
        return span
    answer_part = after.removesuffix(end_token or "")
    return (
        (span[0], min(span[1], len(answer_part)))
        if answer_part != after and whole.startswith(answer_part)
        else None
    )


def _answer(
    turns: Sequence[Turn], place: int, render: Render, end_token: str | None
) -> tuple[str, tuple[int, int]]:
    """The text up to an answer, and the answer's span in it.

    A template that refuses a conversation which stops there, such as a greeting before any user turn, is given as many
    more turns as it needs.
    """
    for count in range(place + 1, len(turns)):
        try:
            after = render(turns[:count], False)
        except InputError:
            continue
        return after, _span(turns, place, count, after, render, end_token)
    after = render(turns, False)
    return after, _span(turns, place, len(turns), after, render, end_token)


def _span(
    turns: Sequence[Turn],
    place: int,
    count: int,
    after: str,
    render: Render,
    end_token: str | None,
    *,
    reaches_end: bool = False,
) -> tuple[int, int]:
    """Where the answer at a place stands in what is written for the first `count` turns, with its EOS token.

    An answer that reaches the end is all turns from that place on.
    """
    try:
        asked = (render(turns[:place], False), render(turns[:place], True)) if place else None
    except InputError:  # the turns before it cannot stand alone
        begin = _marked_begin(turns, place, count, after, render, end_token)
    else:
        begin = _begin_after(asked, turns, place, count, after, render, end_token)
    if reaches_end or count == place + 1:
        return begin, _end(after, begin, len(after), end_token)
    said_until = _content_span(turns, place, count, after, render)[1]
    following = _content_span(turns, place + 1, count, after, render)[0]
    closing = after.find(end_token, said_until, following) if end_token else -1
    return begin, closing + len(end_token or "") if closing >= 0 else max(begin, said_until)


def _end(text: str, begin: int, most: int, end_token: str | None) -> int:
    """Behind the last EOS token of an answer; where it has none, at its end."""
    found = text.rfind(end_token, begin, most) if end_token else -1
    return found + len(end_token or "") if found >= 0 else most


def _unfinished_end(text: str, begin: int, end: int, content: str, end_token: str | None) -> int:
    """Behind what was said of an answer that was truncated, without what closes it."""
    found = text.rfind(content, begin, end) if content else -1
    if found >= 0:
        return found + len(content)
    return end - len(end_token) if end_token and text.endswith(end_token, begin, end) else end


def _begin_after(
    asked: tuple[str, str] | None,
    turns: Sequence[Turn],
    place: int,
    count: int,
    after: str,
    render: Render,
    end_token: str | None,
) -> int:
    """Where an answer begins, given the turns before it as written without and with the words that ask for an answer.

    Where the template writes an earlier turn anew once the answer follows, the answer's own content tells.
    """
    if asked is None:
        return _marked_begin(turns, place, count, after, render, end_token)
    begin = answer_begin(*asked, after)
    if begin is None:
        raise RewritesTurns(place)
    if _is_behind(begin, *asked, end_token):
        return begin
    try:
        return _marked_begin(turns, place, count, after, render, end_token)
    except InputError as error:
        raise RewritesTurns(place) from error


def _is_behind(begin: int, asked: str, asks_for_answer: str, end_token: str | None) -> bool:
    """Whether a place is behind all turns before an answer, rather than within one that is written anew.

    Some templates end every conversation with the EOS token, which then is missing before what asks for an answer.
    """
    shared = _common(asked, asks_for_answer)
    if begin == len(asks_for_answer) or shared == len(asked) <= begin:
        return True
    return begin > shared >= len(asked.removesuffix(end_token or ""))


_CLOSING = ">]}:"
"""How what a template writes before an answer may end, besides whitespace."""


def answer_begin(asked: str, asks_for_answer: str, answered: str) -> int | None:
    """How far the turns before an answer stand unchanged in what the template writes with it; None when not at all.

    `asked` and `asks_for_answer` are the turns before it without and with the words that ask for an answer. Some
    templates ask with more (an opened thought) than they write before a given answer; characters that this and the
    answer begin with alike by chance, such as the < of <think> and of <tool_call>, are the answer's.
    """
    begin, least = _common(asks_for_answer, answered), _common(asked, answered)
    if begin == 0 or begin < least:
        return None
    if begin < len(asks_for_answer):
        least = max(least, _common(asked, asks_for_answer))
        while begin > least and not answered[begin - 1].isspace() and answered[begin - 1] not in _CLOSING:
            begin -= 1
    return begin


def _common(one: str, two: str) -> int:
    """How many characters two texts share at their beginning."""
    if two.startswith(one):
        return len(one)
    return next(
        (place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )


MARK = "\ue0f0\ue0f1"
"""Private-use characters, which no text holds, so that what is put in a turn's place can be found."""


def _marked_begin(
    turns: Sequence[Turn], place: int, count: int, after: str, render: Render, end_token: str | None
) -> int:
    """Where an answer begins when the turns before it cannot be rendered alone: by what changes with its content.

    That is behind what the template writes to ask for an answer, where this stands before the content.
    """
    begin, _ = _content_span(turns, place, count, after, render)
    low = _said_until(turns, place - 1, count, after, render) if place else 0
    header = _header(turns, render)
    for length in range(len(header), 0, -1):
        found = after.rfind(header[:length], low, begin)
        if found >= 0 and not (end_token and end_token in after[found + length : begin]):
            return found + length
    return begin


def _said_until(turns: Sequence[Turn], place: int, count: int, after: str, render: Render) -> int:
    """Where a turn's content ends; 0 for a turn whose content is not written, such as a call."""
    try:
        return _content_span(turns, place, count, after, render)[1]
    except (InputError, RewritesTurns):
        return 0


def _content_span(
    turns: Sequence[Turn], place: int, count: int, after: str, render: Render
) -> tuple[int, int]:
    """Where a turn's content stands, with its thoughts before it, in what is written for some turns."""
    other = render([*turns[:place], {**turns[place], "content": MARK}, *turns[place + 1 : count]], False)
    if other == after:
        raise RewritesTurns(place)
    begin = _common(after, other)
    end = len(after) - _common(after[begin:][::-1], other[begin:][::-1])
    thoughts = (turns[place].get("reasoning_content") or "").strip()
    if thoughts and (found := after.rfind(thoughts, 0, begin)) >= 0:
        begin = found
    return begin, max(begin, end)


def _header(turns: Sequence[Turn], render: Render) -> str:
    """What the template writes to ask for an answer; empty where it writes nothing, or cannot be told."""
    for count in range(1, len(turns) + 1):
        if turns[count - 1]["role"] != "user":
            continue
        try:
            asked, asks = render(turns[:count], False), render(turns[:count], True)
        except InputError:
            continue
        return asks[_common(asked, asks) :]
    return ""

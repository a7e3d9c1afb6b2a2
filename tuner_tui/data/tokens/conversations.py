"""The conversations that the chat template is given for a row, as training gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.rows.for_method import reader_of
from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.data.rows.types import kwargs_in, tools_in
from tuner_tui.data.tokens.text_child import Conversation
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.rows import Found
    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side
    from tuner_tui.data.rows.types import Shape


def conversations_in(found: Found, shape: Shape) -> list[Conversation]:
    """Those of a row in plain form; none for one that cannot be read or that training refuses."""
    row, read = found.row, reader_of(shape)
    if isinstance(row, InputError):
        return []
    if read is None:  # a prompt, which is answered
        prompt = row.get("prompt", row.get("messages"))
        if not isinstance(prompt, list):
            return []
        return [Conversation(prompt, False, [*tools_in(row)], template_kwargs=kwargs_in(row) or {})]
    try:
        return conversations_of(read(row, found.file, found.number))
    except InputError:
        return []


def conversations_of(example: AnyExample) -> list[Conversation]:
    """One conversation, or one a side; none where the row is text as it stands."""
    match example:
        case PairExample():
            return [
                *_answered(example, example.chosen, is_finished=example.chosen_finished),
                *_answered(example, example.rejected, is_finished=example.rejected_finished),
            ]
        case RatedExample():
            return _answered(example, example.completion, is_finished=example.finished)
        case _ if example.messages:
            turns = [message.turn for message in example.messages]
            kwargs = example.template_kwargs or {}
            return [Conversation(turns, False, [*example.tools], True, kwargs)]
        case _:
            return []


def _answered(example: PairExample | RatedExample, answer: Side, *, is_finished: bool) -> list[Conversation]:
    if isinstance(example.prompt, str) or isinstance(answer, str):
        return []
    turns = [message.turn for message in (*example.prompt, *answer)]
    kwargs = example.template_kwargs or {}
    begin = len(example.prompt)
    return [Conversation(turns, False, [*example.tools], True, kwargs, begin, is_finished)]

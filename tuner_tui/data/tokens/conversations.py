"""The conversations that the chat template is given for a row, as training gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.data.tokens.text_child import Conversation

if TYPE_CHECKING:
    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side


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

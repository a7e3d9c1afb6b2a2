"""Chat templates in the worker: rendered by a limited child, so that none can hang a run or fill its memory."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tuner_tui.data.rows.flags import NOT_RENDERED
from tuner_tui.data.tokens.dropped_parts import Conversed as Parts
from tuner_tui.data.tokens.dropped_parts import dropped_parts
from tuner_tui.data.tokens.spans import Rendered, RewritesTurns, render_answers, render_marked
from tuner_tui.data.tokens.template import (
    PartsLook,
    TextChild,
    refusal_hint,
    rewrites,
    rewritten_turn,
)
from tuner_tui.data.tokens.template_files import DEFAULT
from tuner_tui.data.tokens.text_child import Conversation
from tuner_tui.errors import InputError
from tuner_tui.limited.process import ItemFault
from tuner_tui.worker.text import template_time
from tuner_tui.worker.text.named_templates import named_templates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turns = Sequence[dict[str, Any]]
_lock = threading.RLock()
_child: TextChild | None = None
_taken: tuple[dict[str, str], dict[str, Any], Any] | None = None
"""Templates, special tokens and time that the child renders with now."""
_ahead: dict[bytes, str] = {}
"""What was rendered before it is asked for, by request."""


class TemplateRefused(InputError):
    """A template refuses a conversation; `reason` is what it says itself."""

    def __init__(self, where: str, reason: object, turns: Turns = ()) -> None:
        super().__init__(
            "The chat template refuses a row", f"{where}: {reason}", refusal_hint(str(reason), turns)
        )
        self.reason = str(reason)


class Conversed(NamedTuple):
    """A conversation to render, and where it stands."""

    where: str
    turns: Turns
    tools: Sequence[Any] = ()
    template_kwargs: dict[str, Any] | None = None
    """What else the row hands to the template."""
    answer_from: int | None = None
    """The turn from which on all turns are one answer, as of a pair's side."""
    is_finished: bool = True
    finds_marked: bool = False
    """Whether the turns to find are those marked as not to be trained, in place of the answers."""

    @property
    def request(self) -> Conversation:
        """What the child is asked for."""
        return Conversation(
            list(self.turns), False, list(self.tools), True, self.template_kwargs or {}, self.answer_from,
            self.is_finished, self.finds_marked,
        )  # fmt: skip


def render(
    tokenizer: PreTrainedTokenizerBase,
    turns: Turns,
    where: str,
    *,
    asks_for_answer: bool = False,
    tools: Sequence[Any] = (),
    template: str | None = None,
    template_kwargs: dict[str, Any] | None = None,
) -> str:
    """What `tokenizer.apply_chat_template` writes. Raises TemplateRefused, or LimitReached."""
    if not is_plain(tokenizer):
        return _by_its_own_code(tokenizer, turns, where, asks_for_answer, tools, template_kwargs)
    wanted = Conversation(list(turns), asks_for_answer, list(tools), template_kwargs=template_kwargs or {})
    if _ahead and (text := _ahead.get(_key(wanted))) is not None:
        return text
    with _lock:
        try:
            return next(iter([*_ready(tokenizer, template).render([wanted])]))
        except ItemFault as error:
            raise TemplateRefused(where, error.message, turns) from error


def answers(
    tokenizer: PreTrainedTokenizerBase, conversations: Iterable[Conversed], at_once: int = 1
) -> Iterator[list[Rendered]]:
    """Each conversation with its answers found, as `render_answers` has it; raises InputError as `render` does.

    While the caller tokenises some, the child renders the next ones.
    """
    rest = iter(conversations)
    if not is_plain(tokenizer):
        for each in rest:
            yield _answers_by_its_own_code(tokenizer, each)
        return
    some = _send(tokenizer, rest, at_once)
    while some:
        assert _child is not None
        try:
            rendered = list(_child.take_answers())
        except ItemFault as error:
            refused = some[error.place]
            if (position := rewritten_turn(error)) is not None:
                raise _rewrites(refused, position) from error
            raise TemplateRefused(refused.where, error.message, refused.turns) from error
        some = _send(tokenizer, rest, at_once)
        yield from rendered


def look_for_parts(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Iterable[Conversation],
    *,
    is_trained_whole: bool = False,
) -> Iterator[PartsLook]:
    """What the template leaves out of each conversation, whose text is trained as a whole or in its answers only."""
    if is_plain(tokenizer):
        with _lock:
            yield from _ready(tokenizer).look(conversations, is_trained_whole=is_trained_whole)
        return
    for each in conversations:
        conversed = Parts(each.turns, each.tools, each.template_kwargs, each.answer_from, is_trained_whole)
        try:
            dropped = dropped_parts(
                conversed,
                lambda turns, asks, tools, kwargs: _by_its_own_code(
                    tokenizer, turns, "", asks, tools, {**kwargs}
                ),
                end_token=_end_token(tokenizer),
            )
        except (InputError, RewritesTurns):  # said when it is tokenised
            yield PartsLook()
        else:
            yield PartsLook(tuple(dropped))


@contextmanager
def rendered_ahead(
    tokenizer: PreTrainedTokenizerBase, wanted: Iterable[tuple[Turns, bool]]
) -> Iterator[None]:
    """Render many (turns, asks for an answer) at once; `render` has them ready within."""
    if not is_plain(tokenizer) or not tokenizer.chat_template:
        yield
        return
    conversations = [Conversation(list(turns), asks) for turns, asks in wanted]
    unique = {_key(each): each for each in conversations}
    if unique:
        with _lock:
            try:
                texts = list(_ready(tokenizer).render(list(unique.values())))
                _ahead.update(zip(unique, texts, strict=True))
            except ItemFault:  # said with its row when that one is asked for
                pass
    try:
        yield
    finally:
        _ahead.clear()


def is_plain(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer renders as transformers does, rather than by code of its own."""
    from transformers import PreTrainedTokenizerBase

    return type(tokenizer).apply_chat_template is PreTrainedTokenizerBase.apply_chat_template


def close() -> None:
    """End the child."""
    global _child, _taken
    if _child is not None:
        _child.close()
    _child = _taken = None


def _ready(tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> TextChild:
    """The child, told of the tokenizer's templates, or of one to use instead."""
    global _child, _taken
    chosen = {DEFAULT: template} if template else named_templates(tokenizer)
    tokens = dict(tokenizer.special_tokens_map)
    if _child is None or not _child.is_usable:
        close()
        _child = TextChild(str(tokenizer.name_or_path))
        atexit.register(close)
    moment = template_time.fixed()
    if _taken != (chosen, tokens, moment):
        _child.take(chosen, f"of {Path(tokenizer.name_or_path).name}", tokens, moment)
        _taken = (chosen, tokens, moment)
    return _child


def _send(tokenizer: PreTrainedTokenizerBase, rest: Iterator[Conversed], at_once: int) -> list[Conversed]:
    """Have the next conversations rendered; gives which."""
    some = list(islice(rest, at_once))
    if some:
        _ready(tokenizer).send_answers([each.request for each in some])
    return some


def _by_its_own_code(
    tokenizer: PreTrainedTokenizerBase,
    turns: Turns,
    where: str,
    asks: bool,
    tools: Sequence[Any],
    template_kwargs: dict[str, Any] | None = None,
) -> str:
    """What a tokenizer writes that renders in another way than by a template alone."""
    plain = [{name: value for name, value in turn.items() if name not in NOT_RENDERED} for turn in turns]
    try:
        with template_time.in_transformers():
            text = tokenizer.apply_chat_template(
                plain,
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=asks,
                **(template_kwargs or {}),
            )
    except Exception as error:  # whatever that code raises
        raise TemplateRefused(where, error, turns) from error
    return str(text)


def _answers_by_its_own_code(tokenizer: PreTrainedTokenizerBase, each: Conversed) -> list[Rendered]:
    def write(part: Turns, asks: bool) -> str:
        return _by_its_own_code(tokenizer, part, each.where, asks, each.tools, each.template_kwargs)

    end_token = _end_token(tokenizer)
    try:
        if each.finds_marked:
            return [render_marked(each.turns, write, end_token)]
        return render_answers(each.turns, write, end_token, each.answer_from, is_finished=each.is_finished)
    except RewritesTurns as error:
        raise _rewrites(each, error.position) from error


def _rewrites(conversed: Conversed, position: int) -> InputError:
    if conversed.finds_marked:
        return InputError(
            "A turn that is not to be trained cannot be located",
            f"{conversed.where}: the template writes turn {position + 1} anew when others follow.",
            'Set method.loss_on = "answers".',
        )
    return rewrites(conversed.where, position, is_side=conversed.answer_from is not None)


def _end_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    return str(tokenizer.eos_token) if tokenizer.eos_token else None


def _key(wanted: Conversation) -> bytes:
    return msgspec.msgpack.encode(wanted, enc_hook=str)

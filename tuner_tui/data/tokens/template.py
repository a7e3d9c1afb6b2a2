"""A conversation rendered by a model's chat template and tokenised, in a child process with limits.

Templates are programs and tokenizers come with the model, so neither is run in the process that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from tuner_tui.data.tokens.dropped_parts import Dropped
from tuner_tui.data.tokens.lengths import RowLength
from tuner_tui.data.tokens.merged import Merge
from tuner_tui.data.tokens.spans import Rendered, RewritesTurns
from tuner_tui.data.tokens.template_files import CHATML as CHATML
from tuner_tui.data.tokens.template_files import DEFAULT
from tuner_tui.data.tokens.template_files import TEMPLATE_FILE as TEMPLATE_FILE
from tuner_tui.data.tokens.template_files import template_beside as template_beside
from tuner_tui.data.tokens.template_files import template_text as template_text
from tuner_tui.data.tokens.text_child import (
    REWRITES,
    Conversation,
    Load,
    Loaded,
    LookedFor,
    Render,
    RenderedText,
    Take,
)
from tuner_tui.errors import InputError
from tuner_tui.limited.process import ItemFault, LimitedProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tuner_tui.limited.limits import Limits

Item = TypeVar("Item")
MODULE = "tuner_tui.data.tokens.text_child"
MERGE_HINT = (
    'Merge the system prompt into the first user turn: data.fixes = ["merge_system"] (--fix merge_system).'
)
ASKED_AT_ONCE = 512
ASKED_BYTES = 8 << 20
Measured = tuple[int, tuple[tuple[int, int], ...], int, Merge, tuple[bool, ...]]
"""The fields of a RowLength, as they are sent."""


class RefusedItem(InputError):
    """One conversation that a template refuses; `place` counts from 0."""

    def __init__(self, fault: ItemFault) -> None:
        super().__init__(fault.title, fault.message, fault.hint)
        self.place = fault.place


class PartsLook(NamedTuple):
    """What a template leaves out of a conversation, or the error that training on it would raise."""

    dropped: tuple[Dropped, ...] = ()
    refused: InputError | None = None


class TextChild(LimitedProcess):
    """A limited child that renders conversations and counts tokens."""

    def __init__(self, about: str, limits: Limits | None = None) -> None:
        super().__init__(MODULE, about, limits)

    def take(
        self,
        templates: Mapping[str, str],
        source: str,
        special_tokens: dict[str, Any],
        moment: datetime | None = None,
    ) -> None:
        """Render with these templates from now on, as transformers would, at that local time or at the present."""
        self.about = f"The chat template {source}"
        wanted = Take({**templates}, source, special_tokens, moment=moment.isoformat() if moment else "")
        for _ in self.ask(_encoded(wanted)):
            pass

    def load(self, folder: Path, template: str | None, source: str) -> Loaded:
        """Read a model's tokenizer and template. Raises InputError."""
        reply = b"".join(self.ask(_encoded(Load(str(folder), template, source))))
        return msgspec.msgpack.decode(reply, type=Loaded)

    def render(self, conversations: Sequence[Conversation]) -> Iterator[str]:
        """What the template writes for each. Raises ItemFault where it refuses one."""
        decode = msgspec.msgpack.Decoder(RenderedText).decode
        for reply in self.ask(_encoded(Render(list(conversations)))):
            yield decode(reply).text.decode("utf-8", "surrogatepass")

    def send_answers(self, conversations: Sequence[Conversation]) -> None:
        """Have conversations rendered, with the spans of their answers; `take_answers` gives them."""
        self.send(_encoded(Render(list(conversations))))

    def take_answers(self) -> Iterator[list[Rendered]]:
        """The conversations that were sent, in order. Raises ItemFault where one is refused."""
        decode = msgspec.msgpack.Decoder(list[RenderedText]).decode
        for reply in self.answers():
            yield [
                Rendered(part.text.decode("utf-8", "surrogatepass"), tuple(part.spans))
                for part in decode(reply)
            ]

    def look(
        self, conversations: Iterable[Conversation], *, is_trained_whole: bool = False
    ) -> Iterator[PartsLook]:
        """What the template leaves out of each conversation. Raises InputError where it cannot be rendered at all."""
        decode = msgspec.msgpack.Decoder(LookedFor).decode
        for some in _portions(conversations):
            request = _joined("Look", "conversations", some, is_trained_whole=is_trained_whole)
            for (wanted, _), reply in zip(some, self.ask(request), strict=True):
                yield _parts_look(decode(reply), wanted)

    def measure(self, rows: Iterable[dict[str, Any]]) -> Iterator[list[RowLength]]:
        """Each row's sequences in tokens. Raises ItemFault where the template refuses one."""
        decode = msgspec.msgpack.Decoder(list[Measured]).decode
        for some in _portions(rows):
            for reply in self.ask(_joined("Measure", "rows", some)):
                yield [RowLength(*measured) for measured in decode(reply)]


class ModelText:
    """How a model's texts are made and counted; close it, or use it as a context manager."""

    def __init__(self, folder: Path, template: str | None, source: str) -> None:
        self.name = folder.name
        self._child = TextChild(str(folder / "tokenizer.json"))
        try:
            loaded = self._child.load(folder, template, source)
        except BaseException:
            self._child.close()
            raise
        self.template, self.special_tokens = loaded.templates.get(DEFAULT), loaded.special_tokens
        self.special_ids = loaded.special_ids
        self._child.about = f"The chat template {loaded.source}"

    def __enter__(self) -> ModelText:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        self._child.close()

    @property
    def end_token(self) -> str | None:
        return self.special_tokens.get("eos_token")

    def render(
        self,
        turns: Sequence[dict[str, Any]],
        asks_for_answer: bool = False,
        tools: Sequence[Any] = (),
        template_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """Turns as the template writes them. Raises InputError when there is none, or it refuses them."""
        wanted = Conversation([*turns], asks_for_answer, [*tools], template_kwargs=template_kwargs or {})
        try:
            return next(iter([*self._child.render([wanted])]))
        except ItemFault as error:
            raise self._explained(error, turns) from error

    def answers(self, wanted: Conversation) -> list[Rendered]:
        """A conversation with its answers' spans. Raises InputError, and RewritesTurns as `render_answers` does."""
        try:
            self._child.send_answers([wanted])
            return next(iter([*self._child.take_answers()]))
        except ItemFault as error:
            if (position := rewritten_turn(error)) is not None:
                raise RewritesTurns(position) from error
            raise self._explained(error, wanted.turns) from error

    def measure(self, rows: Iterable[dict[str, Any]]) -> Iterator[list[RowLength]]:
        """Each row's sequences in tokens. Raises InputError where the template refuses one."""
        try:
            yield from self._child.measure(rows)
        except ItemFault as error:
            raise self._explained(error) from error

    def look(
        self, conversations: Iterable[Conversation], *, is_trained_whole: bool = False
    ) -> Iterator[PartsLook]:
        """What the template leaves out of each conversation. Raises InputError where there is no template."""
        yield from self._child.look(conversations, is_trained_whole=is_trained_whole)

    def _explained(self, error: ItemFault, turns: Sequence[dict[str, Any]] = ()) -> InputError:
        if error.title:
            return error
        return refused(self.name, error.message, turns)


def _said_of(where: str, problem: str) -> str:
    return f"{where}: {problem}" if where else problem


def refused(where: str, reason: str, turns: Sequence[dict[str, Any]] = ()) -> InputError:
    """The error for a conversation that a template refuses; `where` is the row or the model, if anything."""
    return InputError("The chat template refuses a row", _said_of(where, reason), refusal_hint(reason, turns))


def rewrites(where: str, position: int, *, is_side: bool = False) -> InputError:
    """The error for a row of which the template writes earlier turns anew."""
    if is_side:
        return InputError(
            "The chat template rewrites the prompt",
            _said_of(
                where,
                "what the template writes for the prompt changes when an answer follows, so the answer's ",
            )
            + "tokens cannot be separated from the rest.",
            "Use another model.",
        )
    return InputError(
        "The chat template rewrites earlier turns",
        _said_of(
            where, f"what the template writes before turn {position + 1} changes with that turn, so the "
        )
        + "answer's tokens cannot be separated from the rest.",
        'Set method.loss_on = "all", or use another model.',
    )


def _parts_look(looked_for: LookedFor, wanted: Conversation) -> PartsLook:
    if looked_for.rewritten is not None:
        is_side = wanted.answer_from is not None
        return PartsLook(refused=rewrites("", looked_for.rewritten, is_side=is_side))
    if looked_for.refusal:
        return PartsLook(refused=refused("", looked_for.refusal, wanted.turns))
    return PartsLook(tuple(Dropped(*part) for part in looked_for.dropped))


def refusal_hint(reason: str, turns: Sequence[dict[str, Any]]) -> str:
    """What to do about a template that refuses turns; empty where nothing is known."""
    speakers = [turn.get("role") for turn in turns]
    if "system" in speakers and ("system" in reason.lower() or "alternate" in reason.lower()):
        return MERGE_HINT
    return ""


def rewritten_turn(error: ItemFault) -> int | None:
    """The turn whose beginning cannot be located, where the error says so."""
    if not error.title.startswith(REWRITES):
        return None
    return int(error.title.removeprefix(REWRITES))


def load_model_text(folder: Path, template: str | None = None) -> ModelText:
    """A model's tokenizer and template from its folder; `template` is taken in place of the model's own.

    Raises InputError when there is no tokenizer.json that can be read.
    """
    return ModelText(folder, template_text(template) if template else None, template or "")


def _encoded(request: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(request, enc_hook=str)
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise InputError("A row cannot be rendered", f"{error}.") from error


def _portions(items: Iterable[Item]) -> Iterator[list[tuple[Item, bytes]]]:
    """Items and how they are sent, as many at once as are quickly sent."""
    portion: list[tuple[Item, bytes]] = []
    size = 0
    for item in items:
        portion.append((item, _encoded(item)))
        size += len(portion[-1][1])
        if len(portion) == ASKED_AT_ONCE or size > ASKED_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _joined(kind: str, name: str, portion: list[tuple[Item, bytes]], **more: Any) -> bytes:
    """The request of a kind for items that are encoded already."""
    raw = [msgspec.Raw(sent) for _, sent in portion]
    return msgspec.msgpack.encode({"type": kind, name: raw, **more})

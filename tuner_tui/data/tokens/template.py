"""A conversation rendered by a model's chat template and tokenised, in a child process with limits.

Templates are programs and tokenizers come with the model, so neither is run in the process that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.tokens.lengths import RowLength
from tuner_tui.data.tokens.spans import Rendered, RewritesTurns
from tuner_tui.data.tokens.template_files import CHATML as CHATML
from tuner_tui.data.tokens.template_files import TEMPLATE_FILE as TEMPLATE_FILE
from tuner_tui.data.tokens.template_files import template_beside as template_beside
from tuner_tui.data.tokens.template_files import template_text as template_text
from tuner_tui.data.tokens.text_child import (
    REWRITES,
    Conversation,
    Load,
    Loaded,
    Render,
    RenderedText,
    Request,
    Take,
)
from tuner_tui.errors import InputError
from tuner_tui.limited.process import ItemFault, LimitedProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from tuner_tui.limited.limits import Limits

MODULE = "tuner_tui.data.tokens.text_child"
ASKED_AT_ONCE = 512
ASKED_BYTES = 8 << 20


class RefusedItem(InputError):
    """One conversation that a template refuses; `place` counts from 0."""

    def __init__(self, fault: ItemFault) -> None:
        super().__init__(fault.title, fault.message, fault.hint)
        self.place = fault.place


class TextChild(LimitedProcess):
    """A limited child that renders conversations and counts tokens."""

    def __init__(self, about: str, limits: Limits | None = None) -> None:
        super().__init__(MODULE, about, limits)

    def take(
        self, template: str, source: str, special_tokens: dict[str, Any], moment: datetime | None = None
    ) -> None:
        """Render with this template from now on, as transformers would, at that local time or at the present."""
        self.about = f"The chat template {source}"
        for _ in self.ask(
            _encoded(Take(template, source, special_tokens, moment=moment.isoformat() if moment else ""))
        ):
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

    def measure(self, rows: Iterable[dict[str, Any]]) -> Iterator[list[RowLength]]:
        """Each row's sequences in tokens. Raises ItemFault where the template refuses one."""
        decode = msgspec.msgpack.Decoder(list[tuple[int, tuple[tuple[int, int], ...], int]]).decode
        for some in _portions(rows):
            for reply in self.ask(_joined(some)):
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
        self.template, self.special_tokens = loaded.template, loaded.special_tokens
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

    def _explained(self, error: ItemFault, turns: Sequence[dict[str, Any]] = ()) -> InputError:
        if error.title:
            return error
        return InputError(
            "The chat template refuses a row",
            f"{self.name}: {error.message}",
            refusal_hint(error.message, turns),
        )


def refusal_hint(reason: str, turns: Sequence[dict[str, Any]]) -> str:
    """What to do about a template that refuses turns; empty where nothing is known."""
    speakers = [turn.get("role") for turn in turns]
    if "system" in speakers and ("system" in reason.lower() or "alternate" in reason.lower()):
        return 'Merge the system prompt into the first user turn: data.fixes = ["merge_system"] (--fix merge_system).'
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


def _encoded(request: Request) -> bytes:
    try:
        return msgspec.msgpack.encode(request, enc_hook=str)
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise InputError("A row cannot be rendered", f"{error}.") from error


def _portions(rows: Iterable[dict[str, Any]]) -> Iterator[list[bytes]]:
    """Rows encoded, as many at once as are quickly sent."""
    portion: list[bytes] = []
    size = 0
    for row in rows:
        portion.append(_encoded_row(row))
        size += len(portion[-1])
        if len(portion) == ASKED_AT_ONCE or size > ASKED_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _encoded_row(row: dict[str, Any]) -> bytes:
    try:
        return msgspec.msgpack.encode(row, enc_hook=str)
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise InputError("A row cannot be rendered", f"{error}.") from error


def _joined(rows: list[bytes]) -> bytes:
    return msgspec.msgpack.encode({"type": "Measure", "rows": [msgspec.Raw(row) for row in rows]})

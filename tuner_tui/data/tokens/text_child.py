"""`python -m tuner_tui.data.tokens.text_child`: a model's chat template and tokenizer at work in a limited child."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui import guarded
from tuner_tui.data.tokens import chat_template
from tuner_tui.data.tokens.dropped_parts import Conversed, dropped_parts
from tuner_tui.data.tokens.spans import RewritesTurns, render_answers, render_marked
from tuner_tui.data.tokens.template_files import (
    DEFAULT,
    end_ids_of,
    own_templates,
    special_tokens_of,
    template_for,
)
from tuner_tui.errors import InputError
from tuner_tui.limited.serving import ItemRefused, Watch, serve

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST_TOKENIZER_BYTES = 512 << 20
"""The largest vocabularies take some 40 MB."""
LARGEST_TEXT = 64 << 20
"""Characters of one rendered conversation; the longest contexts that models have are some 4 MB."""
ENCODED_AT_ONCE = 64
ENCODED_CHARACTERS = 4 << 20
REWRITES = "rewrites turn "
"""How a fault begins where the template rewrites earlier turns; the position follows."""


class Load(msgspec.Struct, tag=True):
    """Read a model's tokenizer and template; `template` stands for the model's own."""

    folder: str
    template: str | None = None
    source: str = ""
    """Where `template` comes from."""


class Loaded(msgspec.Struct):
    """What was read."""

    templates: dict[str, str]
    source: str
    special_tokens: dict[str, str]
    special_ids: dict[str, int] = {}
    """Their token IDs, as far as the tokenizer has them."""


class Take(msgspec.Struct, tag=True):
    """Render with these templates from now on, by name; which one, `template_for` says for each conversation."""

    templates: dict[str, str]
    source: str
    special_tokens: dict[str, Any]
    takes_no_empty: bool = True
    """Whether a conversation without turns is refused, as transformers does."""
    moment: str = ""
    """The local time that the template writes, as ISO 8601 has it; empty for the present."""


class Conversation(msgspec.Struct, array_like=True):
    """Turns to render."""

    turns: list[dict[str, Any]]
    asks_for_answer: bool = False
    tools: list[Any] = []
    with_answers: bool = False
    """Whether to find each answer, or each marked turn, and render as often as that takes."""
    template_kwargs: dict[str, Any] = {}
    """What else the row hands to the template."""
    answer_from: int | None = None
    """The turn from which on all turns are one answer, as of a pair's side."""
    is_finished: bool = True
    """False where that answer was truncated when it was generated."""
    finds_marked: bool = False
    """Whether the turns to find are those marked as not to be trained, of any role, in place of the answers."""


class Render(msgspec.Struct, tag=True):
    """Render conversations, each to a RenderedText or, with answers, a list of them."""

    conversations: list[Conversation]


class RenderedText(msgspec.Struct, array_like=True):
    """What a template wrote, with the (begin, end) characters of the answers."""

    text: bytes
    """UTF-8, surrogates passed."""
    spans: list[tuple[int, int]] = []


class Look(msgspec.Struct, tag=True):
    """Look for each part of conversations in what the template writes, each to a LookedFor."""

    conversations: list[Conversation]
    is_trained_whole: bool = False
    """Whether all text is trained, not the answers alone."""


class LookedFor(msgspec.Struct, array_like=True):
    """What a template leaves out of a conversation, or why it refuses it."""

    dropped: list[tuple[int | None, str, bool]] = []
    """As `Dropped` has it."""
    refusal: str = ""
    rewritten: int | None = None
    """The turn of which the answer cannot be located, since the template rewrites earlier turns."""


class Measure(msgspec.Struct, tag=True):
    """Count rows' tokens, each to a list of (tokens, answers)."""

    rows: list[dict[str, Any]]


Request = Load | Take | Render | Look | Measure


class _Child:
    def __init__(self) -> None:
        self.tokenizer: Tokenizer | None = None
        self.templates: dict[str, str] = {}
        self.source = ""
        self.end_ids: frozenset[int] = frozenset()
        self.special_tokens: dict[str, Any] = {}
        self.takes_no_empty = False
        self.moment: datetime | None = None
        self._decode = msgspec.msgpack.Decoder(Request).decode
        self._encode = msgspec.msgpack.encode

    def handle(self, request: bytes, watch: Watch) -> Iterable[bytes]:
        asked: Request = self._decode(request)
        match asked:
            case Load(folder, template, source):
                return self._load(Path(folder), template, source, watch)
            case Take(templates, source, special_tokens, takes_no_empty, moment):
                self.templates, self.source, self.special_tokens = templates, source, special_tokens
                self.takes_no_empty = takes_no_empty
                self.moment = datetime.fromisoformat(moment) if moment else None
                return ()
            case Render(conversations):
                return self._render_all(conversations, watch)
            case Look(conversations, is_trained_whole):
                return self._look_at_all(conversations, is_trained_whole, watch)
            case Measure(rows):
                return self._measure(rows, watch)

    @property
    def _tokenizer(self) -> Tokenizer:
        assert self.tokenizer is not None
        return self.tokenizer

    @property
    def _end_token(self) -> str | None:
        end = self.special_tokens.get("eos_token")
        return end if isinstance(end, str) else None

    def _load(self, folder: Path, template: str | None, source: str, watch: Watch) -> Iterator[bytes]:
        path = folder / "tokenizer.json"
        with watch.step(str(path)):
            self.tokenizer = _read_tokenizer(path)
        with watch.step(str(folder / "tokenizer_config.json")):
            self.special_tokens = special_tokens_of(folder)
            own, own_source = own_templates(folder)
        if template is not None:
            self.templates, self.source = {DEFAULT: template}, source
        else:
            self.templates, self.source = own, str(own_source)
        self.takes_no_empty = False
        named = ((name, self.tokenizer.token_to_id(token)) for name, token in self.special_tokens.items())
        special_ids = {name: number for name, number in named if number is not None}
        end = special_ids.get("eos_token")
        self.end_ids = end_ids_of(folder) | frozenset(() if end is None else (end,))
        yield self._encode(Loaded(self.templates, self.source, self.special_tokens, special_ids))

    def _render_all(self, conversations: list[Conversation], watch: Watch) -> Iterator[bytes]:
        for place, wanted in enumerate(conversations):
            with watch.step(f"The chat template {self.source}", place):
                rendered = self._rendered(wanted, place)
            yield self._encode(rendered)

    def _rendered(self, wanted: Conversation, place: int) -> Any:
        if not wanted.with_answers:
            return RenderedText(
                _bytes(
                    self.render(
                        wanted.turns, wanted.asks_for_answer, wanted.tools, wanted.template_kwargs, place
                    )
                )
            )

        def write(turns: Sequence[dict[str, Any]], asks: bool) -> str:
            return self.render(list(turns), asks, wanted.tools, wanted.template_kwargs, place)

        try:
            if wanted.finds_marked:
                parts = [render_marked(wanted.turns, write, self._end_token)]
            else:
                parts = render_answers(
                    wanted.turns, write, self._end_token, wanted.answer_from, is_finished=wanted.is_finished
                )
        except RewritesTurns as error:
            raise ItemRefused(f"{REWRITES}{error.position}", place=place) from error
        return [RenderedText(_bytes(part.text), list(part.spans)) for part in parts]

    def _look_at_all(
        self, conversations: list[Conversation], is_trained_whole: bool, watch: Watch
    ) -> Iterator[bytes]:
        for place, wanted in enumerate(conversations):
            with watch.step(f"The chat template {self.source}", place):
                looked_for = self._looked_for(wanted, is_trained_whole, place)
            yield self._encode(looked_for)

    def _looked_for(self, wanted: Conversation, is_trained_whole: bool, place: int) -> LookedFor:
        def write(
            turns: list[dict[str, Any]], asks: bool, tools: Sequence[Any], kwargs: Mapping[str, Any]
        ) -> str:
            return self.render(turns, asks, tools, kwargs, place)

        try:
            dropped = dropped_parts(
                Conversed(
                    wanted.turns, wanted.tools, wanted.template_kwargs, wanted.answer_from, is_trained_whole
                ),
                write,
                names_read=chat_template.names_read(self._template_for(wanted.tools, place)),
                end_token=self._end_token,
            )
        except RewritesTurns as error:
            return LookedFor(rewritten=error.position)
        except ItemRefused as error:
            if error.title:  # no fault of this conversation
                raise
            return LookedFor(refusal=error.message)
        return LookedFor([(*part,) for part in dropped])

    def _template_for(self, tools: Sequence[Any], place: int) -> str:
        template = template_for(self.templates, tools)
        if template is None:
            raise ItemRefused(
                "The model has no default chat template"
                if self.templates
                else "The model has no chat template",
                f"{self.source} has only {', '.join(self.templates)}."
                if self.templates
                else f"{self.source} cannot render turns.",
                'Use an instruct model, or set data.template = "chatml".',
                place=place,
            )
        return template

    def render(
        self,
        turns: list[dict[str, Any]],
        asks: bool,
        tools: Sequence[Any],
        template_kwargs: Mapping[str, Any] | None = None,
        place: int = 0,
    ) -> str:
        """Raises ItemRefused where the template refuses the turns or writes far too much."""
        template = self._template_for(tools, place)
        if not turns and self.takes_no_empty:
            raise ItemRefused("", "Cannot apply chat template to an empty conversation.", place=place)
        try:
            text = chat_template.render(
                template, turns, asks, tools, self.special_tokens, template_kwargs, self.moment
            )
        except MemoryError:
            raise
        except Exception as error:  # templates are programs: they raise whatever they like
            raise ItemRefused("", str(error)[:2000] or type(error).__name__, place=place) from error
        if len(text) > LARGEST_TEXT:
            raise ItemRefused("", f"it wrote more than {LARGEST_TEXT >> 20} million characters", place=place)
        return text

    def _measure(self, rows: list[dict[str, Any]], watch: Watch) -> Iterator[bytes]:
        from tuner_tui.data.tokens.lengths import located, sequences_of

        waiting: list[list[Any]] = []
        characters = 0
        for place, row in enumerate(rows):
            with watch.step(f"The chat template {self.source}", place):
                sequences = sequences_of(row, self.render, self._end_token)
            waiting.append(sequences)
            characters += sum(len(text) for text, _, _ in sequences)
            if len(waiting) == ENCODED_AT_ONCE or characters > ENCODED_CHARACTERS or place == len(rows) - 1:
                with watch.step(f"The tokenizer of {self.source}", place):
                    lengths = located(
                        [one for some in waiting for one in some],
                        self._tokenizer,
                        self._end_token,
                        self.end_ids,
                    )
                rest = iter(lengths)
                for some in waiting:
                    yield self._encode(
                        [
                            (each.tokens, each.answers, each.highest, each.merges, each.ended)
                            for _, each in zip(some, rest, strict=False)
                        ]
                    )
                waiting, characters = [], 0


def _read_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    with guarded.open_regular(path) as file:
        size = file.seek(0, 2)
    if size > LARGEST_TOKENIZER_BYTES:
        raise InputError(
            "The tokenizer cannot be read", f"{path}: it has more than {LARGEST_TOKENIZER_BYTES >> 20} MiB."
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except MemoryError:
        raise
    except Exception as error:  # the library raises bare exceptions
        raise InputError(
            "The tokenizer cannot be read", f"{path}: {error}", "Use a model with a tokenizer.json."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    serve(_Child().handle, sys.argv[1:])

"""Rows become tokens: the chat template, which tokens have loss, and where a row is cut."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from tuner_tui.data.tokens.dropped_parts import lacks_text
from tuner_tui.data.tokens.merged import Merge, merge_of
from tuner_tui.data.tokens.spans import Rendered, is_marked
from tuner_tui.errors import InputError
from tuner_tui.worker.text import rendering
from tuner_tui.worker.text.rendering import Conversed
from tuner_tui.worker.text.tokenised import IGNORED as IGNORED
from tuner_tui.worker.text.tokenised import TokenisedRow as TokenisedRow
from tuner_tui.worker.text.tokenised import TokenSequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.data.rows.types import Example, Message

TOKENISED_AT_ONCE = 512
"""Rows; enough for all cores, few enough to hold."""


class SequenceText(NamedTuple):
    """A text that becomes one sequence."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """What has loss, in characters; with loss on all tokens, what does not."""
    is_rendered: bool
    """Whether the template wrote it, special tokens and all."""
    is_doubtful: bool = False
    """Whether it lacks a text of its row, word for word."""


class Tokenised(Protocol):
    """What every kind of tokenised row can say of itself."""

    @property
    def line(self) -> int: ...

    @property
    def tokens(self) -> int:
        """All that are computed, padding apart."""

    @property
    def trained_tokens(self) -> int:
        """Those that have loss; a row without any is left out."""

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""

    @property
    def is_cut(self) -> bool: ...

    @property
    def is_doubtful(self) -> bool:
        """Whether what is written lacks a text of the row, word for word."""

    @property
    def merges(self) -> Merge:
        """What of the prompt is in an answer's first token."""

    @property
    def key(self) -> Any:
        """The same for the same tokens."""

    def sequences(self) -> tuple[TokenSequence, ...]:
        """What it runs through the model, each token with its label."""


AnyRow = TypeVar("AnyRow", bound=Tokenised)


@dataclass(frozen=True)
class TokenisedData(Generic[AnyRow]):
    """A data set ready for the trainer, and what was left out of it."""

    shape: str
    rows: list[AnyRow]
    dropped: list[AnyRow]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows in which no answer is preferred, by reason."""

    @property
    def fingerprint(self) -> str:
        """The same for the same tokens and labels in the same order."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr(row.key).encode())
        return digest.hexdigest()[:16]

    @property
    def longest(self) -> int:
        return max(row.longest for row in self.rows)


def kept_and_dropped(shape: str, rows: Sequence[AnyRow], where: object, hint: str) -> TokenisedData[AnyRow]:
    """Part the rows that would be trained from the rest. Raises InputError when there are none."""
    rows_with_loss = [row for row in rows if row.trained_tokens]
    if not rows_with_loss:
        raise InputError("Nothing would be trained", f"{where}: no row fits within the length limit.", hint)
    return TokenisedData(shape, rows_with_loss, [row for row in rows if not row.trained_tokens])


def tokenise(
    example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int, loss_on: str, file: str = ""
) -> list[TokenisedRow]:
    """One row as ids and labels; with loss_on "answers" only what the assistant says has loss.

    A conversation whose earlier turns the template rewrites becomes a row for each answer.
    """
    return list(tokenise_many([example], tokenizer, max_length, loss_on, file))


def tokenise_many(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    loss_on: str,
    file: str = "",
) -> Iterator[TokenisedRow]:
    """Rows as `tokenise` gives them, many at a time on all cores."""
    for texts in _texts(examples, tokenizer, loss_on, file):
        for (example, text), encoding in zip(
            texts, _encodings([text for _, text in texts], tokenizer), strict=True
        ):
            ids, labels, merges = _labelled(text, encoding, tokenizer)
            if loss_on == "all":  # the spans of a conversation are then what is not to be trained
                is_marked = text.is_rendered and text.spans
                labels = [
                    IGNORED if is_marked and label != IGNORED else token
                    for token, label in zip(ids, labels, strict=True)
                ]
            yield TokenisedRow(
                example.line,
                ids[:max_length],
                labels[:max_length],
                len(ids),
                text.is_doubtful,
                "" if loss_on == "all" else merges,
            )


def _texts(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, loss_on: str, file: str
) -> Iterator[list[tuple[Example, SequenceText]]]:
    """What is tokenised of rows: conversations as the template writes them, or texts as they stand; some at a time."""
    rest = iter(examples)
    while some := list(islice(rest, TOKENISED_AT_ONCE)):
        conversed = [example for example in some if example.messages]
        wanted = (
            Conversed(
                f"{file}:{example.line}",
                turns_for(example.messages, tokenizer),
                example.tools,
                example.template_kwargs,
            )
            for example in conversed
        )
        if loss_on == "all":
            plain = (each.turns for each in wanted if not each.tools and not each.template_kwargs)
            with rendering.rendered_ahead(tokenizer, ((turns, False) for turns in plain)):
                yield [(example, _text(example, tokenizer, file)) for example in some]
            continue
        rendered = rendering.answers(tokenizer, wanted, TOKENISED_AT_ONCE)
        texts: list[tuple[Example, SequenceText]] = []
        for example in some:
            if example.messages:
                parts = next(rendered)
                is_doubtful = lacks_text([message.turn for message in example.messages], parts)
                texts += [(example, SequenceText(each.text, each.spans, True, is_doubtful)) for each in parts]
            else:
                texts.append((example, _text(example, tokenizer, file)))
        yield texts


def _text(example: Example, tokenizer: PreTrainedTokenizerBase, file: str) -> SequenceText:
    """The whole of a row as one text."""
    if example.messages:
        turns = turns_for(example.messages, tokenizer)
        where = f"{file}:{example.line}"
        text = render(turns, tokenizer, where, tools=example.tools, template_kwargs=example.template_kwargs)
        spans = _marked_spans(example, turns, tokenizer, where)
        return SequenceText(text, spans, True, lacks_text(turns, [Rendered(text, ())], is_trained_whole=True))
    begin, end = len(example.prompt), len(example.prompt) + len(example.text)
    return SequenceText(example.prompt + example.text, ((begin, end),), False)


def _marked_spans(
    example: Example, turns: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, where: str
) -> tuple[tuple[int, int], ...]:
    """Where the turns stand that are marked as not to be trained, when all else is. Raises InputError."""
    if not any(map(is_marked, turns)):
        return ()
    wanted = Conversed(where, turns, example.tools, example.template_kwargs, finds_marked=True)
    [found] = next(rendering.answers(tokenizer, [wanted]))
    return found.spans


def _encodings(texts: Sequence[SequenceText], tokenizer: PreTrainedTokenizerBase) -> list[Encoding]:
    """Each text's tokens, on all cores. Raises InputError for a tokenizer that cannot tell where they stand."""
    require_fast(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    found: list[Encoding] = [None] * len(texts)  # type: ignore[list-item]
    for is_rendered in (True, False):
        places = [place for place, each in enumerate(texts) if each.is_rendered is is_rendered]
        if places:
            with all_cores():
                encoded = backend.encode_batch(
                    [texts[place].text for place in places], add_special_tokens=not is_rendered
                )
            for place, encoding in zip(places, encoded, strict=True):
                found[place] = encoding
    return found


@contextmanager
def all_cores() -> Iterator[None]:
    """Let the tokenizers library use every core; a worker's environment keeps it to one, for data loaders that fork."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _labelled(
    text: SequenceText, encoding: Encoding, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int], Merge]:
    """(ids, labels, whether an answer's first token merges with what stands before it).

    The tokens that reach into a span or begin there have loss, and so does the end of a text.
    """
    ids: list[int] = encoding.ids
    labels = [IGNORED] * len(ids)
    merges: Merge = ""
    for begin, end in text.spans:
        first, last = _token_range(encoding, begin, end)
        labels[first:last] = ids[first:last]
        if not merges and (token := encoding.char_to_token(begin)) is not None:
            place = encoding.token_to_chars(token) or (begin, begin)
            merges = merge_of(text.text, place, begin, is_rendered=text.is_rendered)
    if not text.is_rendered and tokenizer.eos_token_id is not None:
        if not ids or ids[-1] != tokenizer.eos_token_id:
            ids.append(tokenizer.eos_token_id)
            labels.append(IGNORED)
        labels[-1] = tokenizer.eos_token_id
    return ids, labels, merges


def _token_range(encoding: Encoding, begin: int, end: int) -> tuple[int, int]:
    """The tokens (first, last) that reach into a span of characters or begin there; equal where there are none."""
    first = next((t for c in range(begin, end) if (t := encoding.char_to_token(c)) is not None), None)
    last = next(
        (t for c in range(end - 1, begin - 1, -1) if (t := encoding.char_to_token(c)) is not None), None
    )
    if first is None or last is None:
        return 0, 0
    count = len(encoding)
    while last < count and (place := encoding.token_to_chars(last)) is not None and place[0] < end:
        last += 1
    return first, max(first, last)


def render_conversation(
    messages: Iterable[Message],
    tokenizer: PreTrainedTokenizerBase,
    where: str = "",
    tools: Sequence[Any] = (),
    template_kwargs: dict[str, Any] | None = None,
) -> list[Rendered]:
    """The conversation as the template writes it, with each answer's place; see `render_answers`.

    Raises InputError when there is no template, or when it rewrites earlier turns so that no answer can be told apart.
    """
    turns = turns_for(messages, tokenizer)
    return next(rendering.answers(tokenizer, [Conversed(where, turns, tools, template_kwargs)]))


def turns_for(messages: Iterable[Message], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Turns as the template takes them. Raises InputError when the model has no template."""
    if not tokenizer.chat_template:
        raise InputError(
            "The model has no chat template",
            f"{tokenizer.name_or_path} cannot render turns.",
            'Use an instruct model; set data.template = "chatml" or to a file; or give `prompt` and `completion`, or '
            "`text`. With template_missing in data.allow, chatml is taken.",
        )
    return [message.turn for message in messages]


def render(
    turns: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    *,
    asks_for_answer: bool = False,
    tools: Sequence[Any] = (),
    template_kwargs: dict[str, Any] | None = None,
) -> str:
    """Turns as the model's template writes them. Raises InputError when it refuses them."""
    return rendering.render(
        tokenizer, turns, where, asks_for_answer=asks_for_answer, tools=tools, template_kwargs=template_kwargs
    )


def encode(
    text: str, tokenizer: PreTrainedTokenizerBase, *, add_special_tokens: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids, and the characters (begin, end) that each stands for. Raises InputError for a tokenizer that cannot tell."""
    require_fast(tokenizer)
    encoded = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    return list(encoded["input_ids"]), encoded["offset_mapping"]


def require_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise InputError for a tokenizer that cannot say where its tokens stand."""
    if not tokenizer.is_fast:
        raise InputError(
            "The tokenizer is too old",
            f"{tokenizer.name_or_path} has no fast tokenizer, which is needed to find the answer's tokens.",
            "Use a model with a tokenizer.json.",
        )

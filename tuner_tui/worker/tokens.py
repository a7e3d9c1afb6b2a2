"""Rows become tokens: the chat template, which tokens carry the loss, and where a row is cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tuner_tui.data.shape import read_examples
from tuner_tui.data.spans import RewritesTurns, render_answers
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.data.reading import Reading
    from tuner_tui.data.shape import Example, Message
    from tuner_tui.data.spans import Rendered

IGNORED = -100
"""The label of a token that carries no loss, by PyTorch's convention."""


class Tokenised(Protocol):
    """What every kind of tokenised row can say of itself."""

    @property
    def line(self) -> int: ...

    @property
    def tokens(self) -> int:
        """All that are computed, padding apart."""

    @property
    def trained_tokens(self) -> int:
        """Those that carry loss; a row without any is left out."""

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""

    @property
    def is_cut(self) -> bool: ...

    @property
    def key(self) -> Any:
        """The same for the same tokens."""


AnyRow = TypeVar("AnyRow", bound=Tokenised)


@dataclass(frozen=True)
class TokenisedRow:
    """What the trainer is fed: equally long ids and labels; a label is the id, or IGNORED."""

    line: int
    input_ids: list[int]
    labels: list[int]
    full_length: int
    """Tokens before the row was cut."""

    @property
    def trained_tokens(self) -> int:
        """Tokens that carry loss. The first token is never predicted, so its label never counts."""
        return sum(label != IGNORED for label in self.labels[1:])

    @property
    def is_cut(self) -> bool:
        return self.full_length > len(self.input_ids)

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    @property
    def longest(self) -> int:
        return len(self.input_ids)

    @property
    def key(self) -> Any:
        return (self.input_ids, self.labels)


@dataclass(frozen=True)
class TokenisedData(Generic[AnyRow]):
    """A data set ready for the trainer, and what was left out of it."""

    shape: str
    rows: list[AnyRow]
    dropped: list[AnyRow]

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
    kept = [row for row in rows if row.trained_tokens]
    if not kept:
        raise InputError("Nothing would be trained", f"{where}: no row fits within the length limit.", hint)
    return TokenisedData(shape, kept, [row for row in rows if not row.trained_tokens])


def tokenise_file(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, loss_on: str
) -> TokenisedData[TokenisedRow]:
    """Read and tokenise a data set. Raises InputError when nothing in it would be trained."""
    shape, examples = read_examples(reading)
    rows = [
        row for example in examples for row in tokenise(example, tokenizer, max_length, loss_on, str(reading))
    ]
    return kept_and_dropped(shape, rows, reading, 'Raise training.max_length, or set method.loss_on = "all".')


def tokenise(
    example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int, loss_on: str, file: str = ""
) -> list[TokenisedRow]:
    """One row as ids and labels; with loss_on "answers" only what the assistant says carries loss.

    A conversation whose earlier turns the template rewrites becomes a row for each answer.
    """
    where = f"{file}:{example.line}"
    found = []
    for ids, labels in _sequences(example, tokenizer, loss_on, where):
        labels = list(ids) if loss_on == "all" else labels
        found.append(TokenisedRow(example.line, ids[:max_length], labels[:max_length], len(ids)))
    return found


def _sequences(
    example: Example, tokenizer: PreTrainedTokenizerBase, loss_on: str, where: str
) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each sequence that a row becomes, whole."""
    if example.messages and loss_on == "all":
        text = render(turns_for(example.messages, tokenizer), tokenizer, where, tools=example.tools)
        return [_label_spans(text, [], tokenizer, add_special_tokens=False)]
    if example.messages:
        return [
            _label_spans(each.text, list(each.spans), tokenizer, add_special_tokens=False)
            for each in render_conversation(example.messages, tokenizer, where, example.tools)
        ]
    begin, end = len(example.prompt), len(example.prompt) + len(example.text)
    ids, labels = _label_spans(
        example.prompt + example.text, [(begin, end)], tokenizer, add_special_tokens=True
    )
    if tokenizer.eos_token_id is not None:
        if not ids or ids[-1] != tokenizer.eos_token_id:
            ids.append(tokenizer.eos_token_id)
            labels.append(IGNORED)
        labels[-1] = tokenizer.eos_token_id
    return [(ids, labels)]


def render_conversation(
    messages: Iterable[Message],
    tokenizer: PreTrainedTokenizerBase,
    where: str = "",
    tools: Sequence[Any] = (),
) -> list[Rendered]:
    """The conversation as the template writes it, with each answer's place; see `render_answers`.

    Raises InputError when there is no template, or when it rewrites earlier turns so that no answer can be told apart.
    """
    turns = turns_for(messages, tokenizer)
    try:
        return render_answers(
            turns,
            lambda part, asks: render(list(part), tokenizer, where, asks_for_answer=asks, tools=tools),
            tokenizer.eos_token,
        )
    except RewritesTurns as error:
        raise InputError(
            "The chat template rewrites earlier turns",
            f"{where}: what the template writes before turn {error.position + 1} changes with that turn, so the "
            "answer's tokens cannot be told from the rest.",
            'Set method.loss_on = "all", or take another model.',
        ) from error


def up_to_end_token(added: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Characters of an answer with its end token; what the template writes after that is never asked of a model."""
    end_token = added.rfind(tokenizer.eos_token) if tokenizer.eos_token else -1
    return end_token + len(tokenizer.eos_token) if end_token >= 0 else len(added)


def turns_for(messages: Iterable[Message], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Turns as the template takes them. Raises InputError when the model has no template."""
    if not tokenizer.chat_template:
        raise InputError(
            "The model has no chat template",
            f"{tokenizer.name_or_path} cannot render turns.",
            'Take an instruct model; set data.template = "chatml" or to a file; or give `prompt` and `completion`, or '
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
) -> str:
    """Turns as the model's template writes them. Raises InputError when it refuses them."""
    try:
        text = tokenizer.apply_chat_template(
            turns, tools=list(tools) or None, tokenize=False, add_generation_prompt=asks_for_answer
        )
    except Exception as error:  # templates are programs: they raise whatever they like
        raise InputError("The chat template refuses a row", f"{where}: {error}") from error
    return str(text)


def _label_spans(
    text: str, spans: list[tuple[int, int]], tokenizer: PreTrainedTokenizerBase, *, add_special_tokens: bool
) -> tuple[list[int], list[int]]:
    """Tokenise a text once and label the tokens that begin within a span."""
    ids, starts = encode(text, tokenizer, add_special_tokens=add_special_tokens)
    labels = [IGNORED] * len(ids)
    position = 0
    for begin, end in spans:
        while position < len(ids) and starts[position][0] < begin:
            position += 1
        while position < len(ids) and starts[position][0] < end:
            if starts[position][1] > starts[position][0]:
                labels[position] = ids[position]
            position += 1
    return ids, labels


def encode(
    text: str, tokenizer: PreTrainedTokenizerBase, *, add_special_tokens: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids, and the characters (begin, end) that each stands for. Raises InputError for a tokenizer that cannot tell."""
    if not tokenizer.is_fast:
        raise InputError(
            "The tokenizer is too old",
            f"{tokenizer.name_or_path} has no fast tokenizer, which is needed to find the answer's tokens.",
            "Take a model with a tokenizer.json.",
        )
    encoded = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    return list(encoded["input_ids"]), encoded["offset_mapping"]

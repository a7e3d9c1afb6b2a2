"""Pairs and rated answers become tokens: where the prompt ends, and what the length limit leaves of an answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.data.rows.for_method import read_pairs_for, read_rated_or_pairs
from tuner_tui.data.tokens.spans import answer_begin
from tuner_tui.errors import InputError
from tuner_tui.worker.text.rendering import rendered_ahead
from tuner_tui.worker.text.tokenised import TokenSequence, answered
from tuner_tui.worker.text.tokens import (
    TOKENISED_AT_ONCE,
    TokenisedData,
    encode,
    kept_and_dropped,
    render,
    turns_for,
    up_to_end_token,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.data.rows.preference import PairExample, RatedExample, Side

HINT = "Raise training.max_length."
AnyPreference = TypeVar("AnyPreference", bound="PairExample | RatedExample")


def trains_cut_rows(method: str) -> bool:
    """Whether a method trains on rows that the length limit cuts; a score is of a whole answer."""
    return method_traits(method).output != "scores"


@dataclass(frozen=True)
class TokenisedPair:
    """One prompt and two answers to it, as far as the length limit leaves them; each that was finished has its end."""

    line: int
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    is_cut: bool

    @property
    def tokens(self) -> int:
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def trained_tokens(self) -> int:
        tells_apart = self.chosen and self.rejected and self.chosen != self.rejected
        return len(self.chosen) + len(self.rejected) if tells_apart else 0

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def key(self) -> Any:
        return (self.prompt, self.chosen, self.rejected)

    def sequences(self) -> tuple[TokenSequence, ...]:
        return (
            answered("chosen", self.prompt, self.chosen),
            answered("rejected", self.prompt, self.rejected),
        )


@dataclass(frozen=True)
class TokenisedAnswer:
    """One prompt, an answer, with its end token unless it was cut off, and whether it was found good."""

    line: int
    prompt: list[int]
    completion: list[int]
    label: bool
    is_cut: bool

    @property
    def tokens(self) -> int:
        return self.longest

    @property
    def trained_tokens(self) -> int:
        return len(self.completion)

    @property
    def longest(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def key(self) -> Any:
        return (self.prompt, self.completion, self.label)

    def sequences(self) -> tuple[TokenSequence, ...]:
        return (answered(f"answer, {'good' if self.label else 'bad'}", self.prompt, self.completion),)


def tokenise_pairs(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, method: MethodKind
) -> TokenisedData[TokenisedPair]:
    """Read and tokenise pairs. What scores whole answers is not trained on over-long pairs, which are left out.

    Raises InputError for rows that cannot be used and when none would be left.
    """
    rows = []
    for example in _rendered_ahead(
        read_pairs_for(method, reading), tokenizer, lambda pair: (pair.chosen, pair.rejected)
    ):
        pair = tokenise_pair(example, tokenizer, max_length, str(reading))
        if pair.is_cut and not trains_cut_rows(method):
            pair = TokenisedPair(pair.line, pair.prompt, [], [], True)
        rows.append(pair)
    return kept_and_dropped("preference", rows, reading, HINT)


def tokenise_answers(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, method: MethodKind, seed: int
) -> TokenisedData[TokenisedAnswer]:
    """Read and tokenise rated answers, in an order drawn by seed, since each may be compared with the one before it.

    Raises InputError for rows that cannot be used, and when all that are left are good or all are bad.
    """
    shape, examples = read_rated_or_pairs(method, reading)
    rows = [
        tokenise_answer(example, tokenizer, max_length, str(reading))
        for example in _rendered_ahead(examples, tokenizer, lambda rated: (rated.completion,))
    ]
    random.Random(seed).shuffle(rows)
    data = kept_and_dropped(shape, rows, reading, HINT)
    if len({row.label for row in data.rows}) == 1:
        raise InputError(
            "All labels are the same",
            f"{reading}: of the rows that fit the length limit only one kind is left.",
            HINT,
        )
    return data


def _rendered_ahead(
    examples: Iterable[AnyPreference],
    tokenizer: PreTrainedTokenizerBase,
    sides: Callable[[AnyPreference], tuple[Side, ...]],
) -> Iterator[AnyPreference]:
    """The examples, what `_encode_answer` asks of the template rendered for many at once."""
    rest = iter(examples)
    while some := list(islice(rest, TOKENISED_AT_ONCE)):
        wanted: list[tuple[list[dict[str, Any]], bool]] = []
        for example in some:
            for side in sides(example):
                if not isinstance(example.prompt, str) and not isinstance(side, str):
                    asked = turns_for(example.prompt, tokenizer)
                    answered = [*asked, *turns_for(side, tokenizer)]
                    wanted += [(asked, True), (answered, False), (asked, False)]
        with rendered_ahead(tokenizer, wanted):
            yield from some


def tokenise_pair(
    example: PairExample, tokenizer: PreTrainedTokenizerBase, max_length: int, file: str = ""
) -> TokenisedPair:
    """One pair; both sides get the same prompt tokens. Raises InputError when the template rewrites the prompt."""
    where = f"{file}:{example.line}"
    chosen, first = _encode_answer(
        example.prompt, example.chosen, tokenizer, where, is_finished=example.chosen_finished
    )
    rejected, second = _encode_answer(
        example.prompt, example.rejected, tokenizer, where, is_finished=example.rejected_finished
    )
    begin = 0  # where a token spans the boundary, the prompt ends before it
    while begin < min(first, second) and chosen[begin] == rejected[begin]:
        begin += 1
    return TokenisedPair(
        example.line,
        chosen[:begin],
        chosen[begin:max_length],
        rejected[begin:max_length],
        max(len(chosen), len(rejected)) > max_length,
    )


def tokenise_answer(
    example: RatedExample, tokenizer: PreTrainedTokenizerBase, max_length: int, file: str = ""
) -> TokenisedAnswer:
    """One rated answer. Raises InputError when the template rewrites the prompt."""
    where = f"{file}:{example.line}"
    ids, begin = _encode_answer(
        example.prompt, example.completion, tokenizer, where, is_finished=example.finished
    )
    return TokenisedAnswer(
        example.line, ids[:begin], ids[begin:max_length], example.label, len(ids) > max_length
    )


def _encode_answer(
    prompt: Side, answer: Side, tokenizer: PreTrainedTokenizerBase, where: str, *, is_finished: bool
) -> tuple[list[int], int]:
    """(ids of prompt and answer, how many of them are the prompt's); a finished answer has its end token."""
    if isinstance(prompt, str) or isinstance(answer, str):
        text, begin = f"{prompt}{answer}", len(str(prompt))
        ids, places = encode(text, tokenizer, add_special_tokens=True)
        end = tokenizer.eos_token_id
        if is_finished and end is not None and (not ids or ids[-1] != end):
            ids, places = [*ids, end], [*places, (len(text), len(text))]
        # Special tokens at the start stand at (0, 0), those at the end do too: only the first ones are the prompt's.
        count = next((n for n, (left, right) in enumerate(places) if left >= begin and right > left), None)
        return ids, count if count is not None else len(ids)
    asked = turns_for(prompt, tokenizer)
    before = render(asked, tokenizer, where, asks_for_answer=True)
    whole = render([*asked, *turns_for(answer, tokenizer)], tokenizer, where)
    start = answer_begin(render(asked, tokenizer, where), before, whole)
    if start is None:
        raise InputError(
            "The chat template rewrites the prompt",
            f"{where}: what the template writes for the prompt changes when an answer follows, so the answer's tokens "
            "cannot be told from the rest.",
            "Take another model.",
        )
    said = whole[start:]
    if is_finished:
        text = whole[: start + up_to_end_token(said, tokenizer)]
    else:
        text = whole[: start + _up_to_content(said, answer[-1].content, tokenizer)]
    ids, places = encode(text, tokenizer, add_special_tokens=False)
    return ids, next((n for n, (left, _) in enumerate(places) if left >= start), len(ids))


def _up_to_content(said: str, content: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Characters of an answer without what closes it."""
    begin = said.rfind(content.strip())
    if begin >= 0:
        return begin + len(content.strip())
    end_token = said.rfind(tokenizer.eos_token) if tokenizer.eos_token else -1
    return end_token if end_token >= 0 else len(said)

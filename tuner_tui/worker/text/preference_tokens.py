"""Pairs and unpaired preferences become tokens: where the prompt ends, what the length limit leaves."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.data.rows.for_method import read_pairs_for, read_rated_or_pairs
from tuner_tui.data.rows.preference import as_turns
from tuner_tui.data.tokens.dropped_parts import lacks_text
from tuner_tui.data.tokens.merged import Merge, merge_of
from tuner_tui.errors import InputError
from tuner_tui.worker.text import rendering
from tuner_tui.worker.text.tokenised import TokenSequence, answered
from tuner_tui.worker.text.tokens import (
    TOKENISED_AT_ONCE,
    TokenisedData,
    encode,
    kept_and_dropped,
    turns_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.data.rows.preference import PairExample, RatedExample, Side

HINT = "Raise training.max_length."


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
    is_doubtful: bool = False
    merges: Merge = ""

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
    """One prompt, an answer, with its EOS token unless it is truncated, and its label."""

    line: int
    prompt: list[int]
    completion: list[int]
    label: bool
    is_cut: bool
    is_doubtful: bool = False
    merges: Merge = ""

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
    rows: list[TokenisedPair] = []
    left_out: Counter[str] = Counter()
    for pair in _pairs(read_pairs_for(method, reading, left_out), tokenizer, max_length, str(reading)):
        if pair.is_cut and not trains_cut_rows(method):
            pair = TokenisedPair(pair.line, pair.prompt, [], [], True)
        rows.append(pair)
    if rows and all(pair.chosen == pair.rejected and not pair.is_cut for pair in rows):
        raise InputError(
            "Nothing would be trained",
            f"{reading}: the chat template renders both sides of every pair alike: what differs, such "
            "as calls or reasoning, has no place in it.",
            "Use another template with data.template, or other pairs.",
        )
    return replace(kept_and_dropped("preference", rows, reading, HINT), left_out=left_out)


def tokenise_answers(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, max_length: int, method: MethodKind, seed: int
) -> TokenisedData[TokenisedAnswer]:
    """Read and tokenise unpaired preferences, in an order drawn by seed, as each may be compared with the previous one.

    Raises InputError for rows that cannot be used, and when all that are left are good or all are bad.
    """
    left_out: Counter[str] = Counter()
    shape, examples = read_rated_or_pairs(method, reading, left_out)
    rows = list(_answers(examples, tokenizer, max_length, str(reading)))
    random.Random(seed).shuffle(rows)
    data = replace(kept_and_dropped(shape, rows, reading, HINT), left_out=left_out)
    if len({row.label for row in data.rows}) == 1:
        raise InputError(
            "All labels are the same",
            f"{reading}: of the rows that fit the length limit only one kind is left.",
            HINT,
        )
    return data


def tokenise_pair(
    example: PairExample, tokenizer: PreTrainedTokenizerBase, max_length: int, file: str = ""
) -> TokenisedPair:
    """One pair; both sides get the same prompt tokens. Raises InputError when the template rewrites the prompt."""
    return next(_pairs([example], tokenizer, max_length, file))


def tokenise_answer(
    example: RatedExample, tokenizer: PreTrainedTokenizerBase, max_length: int, file: str = ""
) -> TokenisedAnswer:
    """One rated answer. Raises InputError when the template rewrites the prompt."""
    return next(_answers([example], tokenizer, max_length, file))


def _pairs(
    examples: Sequence[PairExample], tokenizer: PreTrainedTokenizerBase, max_length: int, file: str
) -> Iterator[TokenisedPair]:
    sides = (
        (example, side, is_finished)
        for example in examples
        for side, is_finished in (
            (example.chosen, example.chosen_finished),
            (example.rejected, example.rejected_finished),
        )
    )
    encoded = _encode_answers(sides, tokenizer, file)
    for example in examples:
        (chosen, first, is_doubtful, merges), (rejected, second, is_too, also) = next(encoded), next(encoded)
        begin = 0  # where a token spans the boundary, the prompt ends before it
        while begin < min(first, second) and chosen[begin] == rejected[begin]:
            begin += 1
        yield TokenisedPair(
            example.line,
            chosen[:begin],
            chosen[begin:max_length],
            rejected[begin:max_length],
            max(len(chosen), len(rejected)) > max_length,
            is_doubtful or is_too,
            merges or also,
        )


def _answers(
    examples: Sequence[RatedExample], tokenizer: PreTrainedTokenizerBase, max_length: int, file: str
) -> Iterator[TokenisedAnswer]:
    sides = ((example, example.completion, example.finished) for example in examples)
    encoded = _encode_answers(sides, tokenizer, file)
    for example, (ids, begin, is_doubtful, merges) in zip(examples, encoded, strict=True):
        is_cut = len(ids) > max_length
        yield TokenisedAnswer(
            example.line, ids[:begin], ids[begin:max_length], example.label, is_cut, is_doubtful, merges
        )


def _encode_answers(
    answers: Iterator[tuple[PairExample | RatedExample, Side, bool]],
    tokenizer: PreTrainedTokenizerBase,
    file: str,
) -> Iterator[tuple[list[int], int, bool, Merge]]:
    """Of each: (ids of prompt and answer, how many of them are the prompt's, whether the text lacks words of the row,
    whether the answer's first token merges with the prompt).

    A finished answer has its EOS token.
    """
    while some := list(islice(answers, TOKENISED_AT_ONCE)):
        wanted = [_conversed(*each, tokenizer, file) for each in some if _is_turns(each)]
        rendered = zip(wanted, rendering.answers(tokenizer, wanted, TOKENISED_AT_ONCE), strict=True)
        for each in some:
            example, answer, is_finished = each
            if not _is_turns(each):
                text = _encode_text(str(example.prompt), str(answer), tokenizer, is_finished=is_finished)
                yield text[0], text[1], False, text[2]
                continue
            conversed, [whole] = next(rendered)
            [(start, _)] = whole.spans
            ids, places = encode(whole.text, tokenizer, add_special_tokens=False)
            count = next(
                (n for n, (left, right) in enumerate(places) if max(left, right - 1) >= start), len(ids)
            )
            merges = _merged(whole.text, places, count, start, is_rendered=True)
            yield ids, count, lacks_text(conversed.turns, [whole], conversed.answer_from), merges


def _is_turns(each: tuple[PairExample | RatedExample, Side, bool]) -> bool:
    return not isinstance(each[0].prompt, str) and not isinstance(each[1], str)


def _conversed(
    example: PairExample | RatedExample,
    answer: Side,
    is_finished: bool,
    tokenizer: PreTrainedTokenizerBase,
    file: str,
) -> rendering.Conversed:
    asked = turns_for(as_turns(example.prompt), tokenizer)
    return rendering.Conversed(
        f"{file}:{example.line}",
        [*asked, *turns_for(as_turns(answer), tokenizer)],
        example.tools,
        example.template_kwargs,
        len(asked),
        is_finished,
    )


def _encode_text(
    prompt: str, answer: str, tokenizer: PreTrainedTokenizerBase, *, is_finished: bool
) -> tuple[list[int], int, Merge]:
    text, begin = f"{prompt}{answer}", len(prompt)
    ids, places = encode(text, tokenizer, add_special_tokens=True)
    end = tokenizer.eos_token_id
    if is_finished and end is not None and (not ids or ids[-1] != end):
        ids, places = [*ids, end], [*places, (len(text), len(text))]
    # Special tokens at the start stand at (0, 0), those at the end do too: only the first ones are the prompt's.
    count = next((n for n, (left, right) in enumerate(places) if right > begin and right > left), None)
    count = count if count is not None else len(ids)
    return ids, count, _merged(text, places, count, begin, is_rendered=False)


def _merged(
    text: str, places: Sequence[tuple[int, int]], count: int, begin: int, *, is_rendered: bool
) -> Merge:
    """How an answer's first token, after `count` of the prompt, merges with the prompt."""
    return merge_of(text, places[count], begin, is_rendered=is_rendered) if count < len(places) else ""

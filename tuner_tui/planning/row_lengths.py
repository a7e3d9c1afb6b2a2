"""Row lengths of a dataset in tokens, for the memory estimate: the longest, and an even sample."""

from __future__ import annotations

import heapq
import itertools
import json
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.limited.limits import LimitReached
from tuner_tui.planning.place import UNCOUNTED, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.reading import Reading

LOOKED_AT = 50_000
"""Rows whose texts are read."""
LONGEST, SAMPLE = 32, 512
"""Rows that are tokenised: the longest by bytes, and an even sample of the first."""
BYTES_PER_TOKEN, TEMPLATE_TOKENS = 5, 20
"""A guess for rows as JSON, and for what a chat template adds; the demo's rows have 57 tokens on average by both."""
USED_TOKENS = {"pad_token": "the pad token", "eos_token": "the EOS token", "bos_token": "the BOS token"}
"""Special tokens that runs use besides those in the rows."""


def count_rows(reading: Reading, tokenizer_folder: Path) -> Rows:
    """The rows' lengths; unknown if tokenizer or template fails. Raises TunerError for unusable data.

    Of more than LOOKED_AT rows only the first are read, and the number of rows stays unknown.
    """
    from tuner_tui.data.recognition.reading import plain_rows
    from tuner_tui.data.tokens.lengths import measure
    from tuner_tui.data.tokens.template import load_model_text

    read = (row for _, _, row in plain_rows(reading).strict())
    longest, sample, looked_at = _pick(itertools.islice(read, LOOKED_AT))
    if not looked_at:
        return UNCOUNTED
    is_cut = next(read, None) is not None
    count, first = (None, looked_at) if is_cut else (looked_at, None)
    token_ids: dict[str, int] = {}
    try:
        with load_model_text(tokenizer_folder) as text:
            token_ids = {
                f"{words} {text.special_tokens[name]}": text.special_ids[name]
                for name, words in USED_TOKENS.items()
                if name in text.special_ids
            }
            measured = [measure(longest, text), measure(sample, text)]
    except LimitReached:
        raise
    except TunerError:
        return Rows(count=count, first=first, token_ids=tuple(token_ids.items()))
    token_ids["a token of the rows"] = max(each.highest for some in measured for each in some)
    return Rows(
        longest=max(each.tokens for some in measured for each in some),
        count=count,
        first=first,
        sample=tuple(each.tokens for each in measured[1]),
        token_ids=tuple(token_ids.items()),
    )


def guess_rows(reading: Reading) -> Rows:
    """The rows' lengths by their bytes, for a model whose tokenizer is not here yet. Raises TunerError.

    The longest stays unknown, since memory is planned for it.
    """
    from tuner_tui.data.recognition.reading import plain_rows

    read = (row for _, _, row in plain_rows(reading).strict())
    _, sample, looked_at = _pick(itertools.islice(read, LOOKED_AT))
    if next(read, None) is not None:
        return Rows(first=looked_at)
    guessed = tuple(TEMPLATE_TOKENS + _size(row) // BYTES_PER_TOKEN for row in sample)
    return Rows(count=looked_at, sample=guessed, is_guessed=True)


def longest_rows(rows: Iterable[Row], tokenizer_folder: Path | None, limit: int) -> list[Row]:
    """The longest rows, longest first; with a tokenizer only those that keep a part of the answer within the limit."""
    longest, sample, _ = _pick(rows)
    longest.sort(key=_size, reverse=True)
    if tokenizer_folder is None:
        return longest
    from tuner_tui.data.tokens.template import load_model_text

    try:
        rows = [*longest, *sample]
        measured = []
        with load_model_text(tokenizer_folder) as text:
            for row, sequences in zip(rows, text.measure(rows), strict=True):
                if all(
                    sequence.answer_tokens_within(limit) or not sequence.answers for sequence in sequences
                ):
                    measured.append((max(min(sequence.tokens, limit) for sequence in sequences), row))
    except LimitReached:
        raise
    except TunerError:
        return longest
    measured.sort(key=lambda pair: -pair[0])
    return [row for _, row in measured[:LONGEST]] or longest


def _size(row: Row) -> int:
    """Bytes of a row's text: other scripts take more bytes per letter, and more tokens."""
    return len(json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass"))


def _pick(rows: Iterable[Row]) -> tuple[list[Row], list[Row], int]:
    """(the longest rows by bytes, an even sample, how many there are)."""
    longest: list[tuple[int, int, Row]] = []
    sample: list[Row] = []
    step, count = 1, 0
    for count, row in enumerate(rows, 1):
        size = _size(row)
        if len(longest) < LONGEST:
            heapq.heappush(longest, (size, count, row))
        elif size > longest[0][0]:
            heapq.heapreplace(longest, (size, count, row))
        if count % step == 0:
            sample.append(row)
        if len(sample) == 2 * SAMPLE:
            sample, step = sample[1::2], 2 * step
    return [row for _, _, row in longest], sample, count

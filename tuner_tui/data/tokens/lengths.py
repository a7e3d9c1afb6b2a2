"""How long rows are in tokens, how much of the answers a limit cuts, what padding wastes, and which limit fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner_tui.data.rows.content import asked_and_answers
from tuner_tui.data.tokens.merged import Merge, merge_of
from tuner_tui.data.tokens.spans import RewritesTurns, render_answers
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from tokenizers import Encoding, Tokenizer

    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.tokens.spans import Render
    from tuner_tui.data.tokens.template import ModelText

    Sequenced = tuple[str, tuple[tuple[int, int], ...], bool]
    """(text, answer spans in characters, whether the template made it)."""
    RenderRow = Callable[[list[dict[str, Any]], bool, Sequence[Any], "Mapping[str, Any] | None"], str]
    """(turns, asks for an answer, tools, what else the row hands to the template) -> text."""

BINS = 24
FEWEST_WITH_OUTLIER = 10
SUGGESTED_SHARE = 0.99
"""The suggested limit keeps this share of the answers' tokens."""


@dataclass(frozen=True)
class RowLength:
    """One sequence's tokens, and where its answers stand among them."""

    tokens: int
    answers: tuple[tuple[int, int], ...]
    """Token positions (begin, end) with loss."""
    highest: int = 0
    """The highest token ID."""
    merges: Merge = ""
    """What of the prompt is in an answer's first token."""
    ended: tuple[bool, ...] = ()
    """Whether each answer has an EOS token, before a length limit cuts it."""

    @property
    def answer_tokens(self) -> int:
        return sum(end - begin for begin, end in self.answers)

    def answer_tokens_within(self, limit: int) -> int:
        """Tokens with loss that a length limit leaves."""
        return sum(max(0, min(end, limit) - begin) for begin, end in self.answers)


@dataclass(frozen=True)
class LengthReport:
    """The lengths of a data set's rows against a limit."""

    rows: int
    is_sample: bool
    limit: int
    longest: int
    median: int
    mean: float
    over: int
    """Sequences longer than the limit."""
    answer_share_cut: float
    """Share of the answers' tokens that the limit cuts off."""
    answers_truncated: int
    """Sequences of which the limit cuts off answer tokens."""
    answers_lost: int
    """Those of them of which no answer token is left."""
    padding_waste: float
    """Share of computed tokens that are padding, in random batches of 8."""
    padding_waste_grouped: float
    """The same when batches are grouped by length."""
    suggested_limit: int
    """The smallest multiple of 64 that leaves 99 % of the answers' tokens."""
    usual_limit: int
    """The smallest multiple of 64 that holds all sequences whole but the longest fiftieth."""
    over_usual: int
    """Sequences longer than that."""
    histogram: tuple[tuple[int, int], ...]
    """(upper bound in tokens, sequences) of each bin."""


def measure(rows: Iterable[Row], model: ModelText) -> list[RowLength]:
    """The length of each row's sequences: one, or one a side of a pair. Raises InputError as templates do."""
    return [length for lengths in model.measure(rows) for length in lengths]


def located(
    sequences: Sequence[Sequenced],
    tokenizer: Tokenizer,
    end_token: str | None,
    end_ids: AbstractSet[int] = frozenset(),
) -> list[RowLength]:
    """The length of each sequence, where its answers stand among its tokens, and which have one of the EOS tokens."""
    lengths: list[RowLength | None] = [None] * len(sequences)
    for is_rendered in (True, False):
        places = [place for place, each in enumerate(sequences) if each[2] is is_rendered]
        encoded = tokenizer.encode_batch(
            [sequences[place][0] for place in places], add_special_tokens=not is_rendered
        )
        for place, encoding in zip(places, encoded, strict=True):
            starts = np.fromiter((begin for begin, _ in encoding.offsets), np.int64, len(encoding.ids))
            extra = 0 if is_rendered or not end_token else 1
            within, merges = _tokens_within(sequences[place], encoding, starts, extra)
            ended = tuple(
                bool(extra) or not end_ids.isdisjoint(encoding.ids[begin:end]) for begin, end in within
            )
            lengths[place] = RowLength(
                len(encoding.ids) + extra, within, max(encoding.ids, default=0), merges, ended
            )
    return [each for each in lengths if each is not None]


def _tokens_within(
    sequence: Sequenced, encoding: Encoding, starts: np.ndarray[Any, Any], extra: int
) -> tuple[tuple[tuple[int, int], ...], Merge]:
    """The answers' places among the tokens, and how a first token of theirs merges with what stands before it."""
    text, spans, is_rendered = sequence
    within: list[tuple[int, int]] = []
    merges: Merge = ""
    for begin, end in spans:
        first = int(np.searchsorted(starts, begin))
        if first and (kind := merge_of(text, encoding.offsets[first - 1], begin, is_rendered=is_rendered)):
            merges = merges or kind
            first -= 1
        within.append((first, int(np.searchsorted(starts, end)) + extra))
    return tuple(within), merges


def sequences_of(row: Row, render: RenderRow, end_token: str | None) -> list[Sequenced]:
    """The sequences of a row as text, by the renderer that feeds the trainer."""
    tools, kwargs = row.get("tools", ()), row.get("chat_template_kwargs")

    def write(part: Sequence[dict[str, Any]], asks: bool) -> str:
        return render(list(part), asks, tools, kwargs)

    if "text" in row:
        return [(row["text"], ((0, len(row["text"])),), False)]
    if "messages" in row:
        return _of_turns(row["messages"], write, end_token)
    prompt, answers = asked_and_answers(row)
    if not answers:
        return [(write(prompt, True), (), True)] if isinstance(prompt, list) else [(prompt or "", (), False)]
    found: list[Sequenced] = []
    for answer in answers:
        if isinstance(answer, list):
            asked = prompt if isinstance(prompt, list) else []
            found += _of_turns([*asked, *answer], write, end_token, len(asked))[-1:]
        else:
            before = prompt if isinstance(prompt, str) else ""
            found.append((before + answer, ((len(before), len(before) + len(answer)),), False))
    return found


def _of_turns(
    turns: list[dict[str, Any]], write: Render, end_token: str | None, answer_from: int | None = None
) -> list[Sequenced]:
    try:
        rendered = render_answers(turns, write, end_token, answer_from)
    except RewritesTurns:
        return [(write(turns, False), (), True)]
    return [(each.text, each.spans, True) for each in rendered]


def report(lengths: Sequence[RowLength], limit: int, *, is_sample: bool, seed: int = 0) -> LengthReport:
    """What lengths mean under a limit. Raises InputError for none."""
    if not lengths:
        raise InputError("There are no lengths", "No row could be counted.")
    tokens = np.array([each.tokens for each in lengths])
    learnt = sum(each.answer_tokens for each in lengths)
    left = [each.answer_tokens_within(limit) for each in lengths]
    fitted = np.minimum(tokens, limit)
    return LengthReport(
        rows=len(lengths),
        is_sample=is_sample,
        limit=limit,
        longest=int(tokens.max()),
        median=int(np.median(tokens)),
        mean=float(tokens.mean()),
        over=int((tokens > limit).sum()),
        answer_share_cut=1 - sum(left) / learnt if learnt else 0.0,
        answers_truncated=sum(
            within < each.answer_tokens for within, each in zip(left, lengths, strict=True)
        ),
        answers_lost=sum(
            not within and each.answer_tokens > 0 for within, each in zip(left, lengths, strict=True)
        ),
        padding_waste=_waste(np.random.default_rng(seed).permutation(fitted)),
        padding_waste_grouped=_waste(np.sort(fitted)),
        suggested_limit=suggest_limit(lengths),
        usual_limit=(usual := usual_limit(lengths)),
        over_usual=int((tokens > usual).sum()),
        histogram=_histogram(tokens),
    )


def suggest_limit(lengths: Sequence[RowLength]) -> int:
    """The smallest multiple of 64 that leaves 99 % of the answers' tokens; of all tokens, where none has loss."""
    ends = sorted(each.tokens for each in lengths)
    learnt = sum(each.answer_tokens for each in lengths)
    low, high = 1, max(1, math.ceil(ends[-1] / 64))
    while low < high:
        middle = (low + high) // 2
        if learnt:
            share = sum(each.answer_tokens_within(middle * 64) for each in lengths) / learnt
        else:
            share = sum(min(end, middle * 64) for end in ends) / sum(ends)
        low, high = (low, middle) if share >= SUGGESTED_SHARE else (middle + 1, high)
    return low * 64


def _waste(tokens: np.ndarray[Any, Any], batch: int = 8) -> float:
    """Padding's share when rows are batched in this order."""
    padded = sum(
        int(part.max()) * len(part) for part in np.array_split(tokens, math.ceil(len(tokens) / batch))
    )
    return 1 - int(tokens.sum()) / padded if padded else 0.0


def _histogram(tokens: np.ndarray[Any, Any]) -> tuple[tuple[int, int], ...]:
    """Sequences by length, in equal bins over all but the shortest and the longest fiftieth.

    The first bin holds what is shorter, too; what is longer has a bin of its own, up to the longest.
    """
    ordered, beyond = np.sort(tokens), _outliers(len(tokens))
    low, top = int(ordered[beyond]), int(ordered[len(tokens) - 1 - beyond])
    width = max(1, math.ceil((top - low + 1) / BINS))
    bins = min(BINS, (top - low) // width + 1)
    counts = np.bincount(np.clip((tokens - low) // width, 0, bins), minlength=bins + 1)
    bounds = [low + (place + 1) * width - 1 for place in range(bins)]
    histogram = [(bound, int(count)) for bound, count in zip(bounds, counts[:bins], strict=True)]
    return (*histogram, (int(tokens.max()), int(counts[bins]))) if counts[bins] else tuple(histogram)


def usual_limit(lengths: Sequence[RowLength]) -> int:
    """The smallest multiple of 64 that holds all sequences whole but the longest fiftieth.

    One outlier decides nothing, also among few rows: from ten on, one may be longer.
    """
    tokens = sorted(each.tokens for each in lengths)
    return 64 * max(1, math.ceil(tokens[len(tokens) - 1 - _outliers(len(tokens))] / 64))


def _outliers(count: int) -> int:
    """How many of so many lengths may lie outside at either end."""
    return max(count // 50, int(count >= FEWEST_WITH_OUTLIER))

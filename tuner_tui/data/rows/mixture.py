"""Several sources as one: all rows, a number of rows, or a share of the mixture."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config.data_section import split_source
from tuner_tui.data.files.rows import locate
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.rows import Found


@dataclass(frozen=True)
class Source:
    """A further source of rows."""

    path: Path
    weight: float | None = None
    """Its share of the mixture."""
    rows: int | None = None


def parse_source(line: str) -> Source:
    """A line of data.also. Raises InputError for what it does not mean, or as `locate` does."""
    file, how = split_source(line)
    key, _, value = how.strip().partition("=")
    wrong = InputError(
        "A further source cannot be read",
        f"data.also: {line!r}: expected FILE, FILE weight=SHARE (above 0, below 1) or FILE rows=COUNT.",
        "For example: poems.jsonl weight=0.3",
    )
    try:
        weight = float(value) if key == "weight" else None
        rows = int(value) if key == "rows" else None
    except ValueError as error:
        raise wrong from error
    if (weight is not None and not 0 < weight < 1) or (rows is not None and rows < 1):
        raise wrong
    return Source(locate(file), weight, rows)


def mixed(
    first: Iterator[Found],
    sources: Sequence[Source],
    open_source: Callable[[Source], Iterator[Found]],
    seed: int,
) -> Iterator[Found]:
    """The rows of all sources, one source after the other; which rows are drawn is fixed by the seed.

    Weights are shares of the mixture: with one source of weight 0.25, three quarters are the rows without a weight. A
    source with fewer rows than are wanted gives each of them as often as is needed. An epoch is one pass over what was
    drawn. Raises InputError for weights that leave nothing for the rest.
    """
    weights = sum(source.weight or 0 for source in sources)
    if weights >= 1:
        raise InputError(
            "The weights leave nothing",
            f"data.also: the weights add up to {weights:g}.",
            "They are shares of the mixture and must add up to less than 1.",
        )
    unweighted = 0
    for found in first:
        unweighted += 1
        yield found
    for source in sources:
        if source.weight is None:
            for found in _drawn(list(open_source(source)), source.rows, seed):
                unweighted += 1
                yield found
    whole = unweighted / (1 - weights)
    for source in sources:
        if source.weight is not None:
            yield from _drawn(list(open_source(source)), round(source.weight * whole), seed)


def _drawn(rows: list[Found], count: int | None, seed: int) -> list[Found]:
    """So many rows; each as often as the others, but for one."""
    if count is None or not rows:
        return rows
    whole, rest = divmod(count, len(rows))
    chosen = sorted(random.Random(seed).sample(range(len(rows)), rest))
    return [*(rows * whole), *(rows[place] for place in chosen)]

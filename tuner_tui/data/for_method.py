"""The rows of a data set as a method learns from them: examples, pairs of answers, or rated answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner_tui.config.methods import METHOD_SHAPES, PAIR_METHODS
from tuner_tui.data.preference import (
    PAIRS_HELP,
    RATED_HELP,
    PairExample,
    RatedExample,
    check_labels,
    pair_of,
    rated_of,
)
from tuner_tui.data.reading import Reading, plain_rows
from tuner_tui.data.shape import Example, Shape, read_examples
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.config.methods import MethodKind

AnyExample = Example | PairExample | RatedExample


def read_for(method: MethodKind, reading: Reading) -> tuple[Shape, list[AnyExample]]:
    """(shape, rows) of a data set for a method. Raises InputError that names file and line."""
    if method == "sft":
        shape, examples = read_examples(reading)
        return shape, [*examples]
    if method == "kto":
        shape, rated = read_rated_or_pairs(reading)
        return shape, [*rated]
    return "preference", [*read_pairs_for(method, reading)]


def read_pairs_for(method: MethodKind, reading: Reading) -> list[PairExample]:
    """The pairs of a data set. Raises InputError that names file and line, also where the rows are something else."""
    assert method in PAIR_METHODS
    if reading.asked == "auto" and not reading.mapping:
        reading = replace(reading, asked="preference")
    plain = plain_rows(reading)
    _require_shape(plain.layout.shape, method, reading, PAIRS_HELP)
    pairs = [pair_of(row, file, number) for file, number, row in plain.strict()]
    if not pairs:
        raise InputError("The data file is empty", f"{reading.path} holds no rows.", PAIRS_HELP)
    return pairs


def read_rated_or_pairs(reading: Reading) -> tuple[Shape, list[RatedExample]]:
    """(shape, rated answers); the sides of a pair are a good and a bad answer. Raises InputError as `read_for` does."""
    plain = plain_rows(reading)
    _require_shape(plain.layout.shape, "kto", reading, f"{RATED_HELP} Or: {PAIRS_HELP}")
    rated: list[RatedExample] = []
    for file, number, row in plain.strict():
        if plain.layout.shape == "rated":
            rated.append(rated_of(row, file, number))
            continue
        pair = pair_of(row, file, number)
        rated.append(RatedExample(number, pair.prompt, pair.chosen, True))
        rated.append(RatedExample(number, pair.prompt, pair.rejected, False))
    check_labels(rated, reading.path)
    return plain.layout.shape, rated


def _require_shape(shape: Shape, method: MethodKind, reading: Reading, hint: str) -> None:
    if shape not in METHOD_SHAPES[method]:
        raise InputError(
            f"The rows are not what {method} learns from", f"{reading.path}: the shape is {shape}.", hint
        )

"""The rows of a data set as a method learns from them: examples, pairs of answers, or unpaired preferences."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import TRAITS, method_traits
from tuner_tui.data.recognition.reading import PlainRows, Reading, plain_rows
from tuner_tui.data.rows.preference import (
    PAIRS_HELP,
    RATED_HELP,
    PairExample,
    RatedExample,
    check_labels,
    no_rows,
    pair_of,
    rated_of,
)
from tuner_tui.data.rows.types import Example, Shape, example_of, read_examples, turns_with_answer
from tuner_tui.errors import InputError
from tuner_tui.text import listed

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.files.json_rows import Row

AnyExample = Example | PairExample | RatedExample


class OtherMethod(InputError):
    """The rows are good, and another method learns from them."""

    def __init__(self, method: MethodKind, shape: Shape, reading: Reading) -> None:
        fitting = [kind for kind, traits in TRAITS.items() if shape in traits.dataset_types]
        remedy = f"Use method {listed(fitting, 'or')}, or other data." if fitting else "Use other data."
        found = f"{reading.path}: dataset type {shape}{', no answers' if shape == 'prompts' else ''}."
        super().__init__(f"The rows are not of a type that {method} trains on", found, remedy)
        self.shape = shape


def read_for(method: MethodKind, reading: Reading) -> tuple[Shape, list[AnyExample]]:
    """(shape, rows) of a data set for a method. Raises InputError that names file and line."""
    match method_traits(method).rows:
        case "examples":
            plain_for(method, reading)
            shape, examples = read_examples(reading)
            return shape, [*examples]
        case "answers":
            shape, rated = read_rated_or_pairs(method, reading)
            return shape, [*rated]
        case "pairs":
            return "preference", [*read_pairs_for(method, reading)]


def read_pairs_for(
    method: MethodKind, reading: Reading, left_out: Counter[str] | None = None
) -> list[PairExample]:
    """The pairs of a data set; `left_out` counts the rows in which no answer is preferred, by reason.

    Raises InputError that names file and line, also where the rows are something else.
    """
    assert method_traits(method).rows == "pairs"
    plain = plain_for(method, reading)
    pairs = [pair_of(row, file, number) for file, number, row in plain.strict()]
    if not pairs:
        raise no_rows(reading, plain.left_out, PAIRS_HELP)
    if left_out is not None:
        left_out.update(plain.left_out)
    return pairs


def read_rated_or_pairs(
    method: MethodKind, reading: Reading, left_out: Counter[str] | None = None
) -> tuple[Shape, list[RatedExample]]:
    """(shape, unpaired preferences); a pair gives a good and a bad one. Raises InputError as `read_for` does."""
    plain = plain_for(method, reading)
    rated: list[RatedExample] = []
    for file, number, row in plain.strict():
        if plain.layout.shape == "rated":
            rated.append(rated_of(row, file, number))
            continue
        pair = pair_of(row, file, number)
        for answer, label, is_finished in (
            (pair.chosen, True, pair.chosen_finished),
            (pair.rejected, False, pair.rejected_finished),
        ):
            rated.append(
                RatedExample(
                    number, pair.prompt, answer, label, is_finished, pair.tools, pair.template_kwargs
                )
            )
    if not rated:
        raise no_rows(reading, plain.left_out, RATED_HELP)
    check_labels(rated, reading)
    if left_out is not None:
        left_out.update(plain.left_out)
    return plain.layout.shape, rated


def plain_for(method: MethodKind, reading: Reading) -> PlainRows:
    """The rows in a shape that fits the method: the likeliest, else the method's own where the columns allow it.

    Raises OtherMethod where no shape fits, and InputError as `plain_rows` does.
    """
    traits = method_traits(method)
    plain = plain_rows(reading)
    if plain.layout.shape in traits.dataset_types:
        return plain
    if traits.rows != "examples" and reading.asked == "auto" and not reading.mapping:
        with suppress(InputError):
            return plain_rows(replace(reading, asked=traits.dataset_types[0]))
    raise OtherMethod(method, plain.layout.shape, reading)


def reader_of(shape: Shape) -> Callable[[Row, Path, int], AnyExample] | None:
    """What makes of a row in plain form what methods train on; None for prompts, which are answered.

    It takes the row, its file and its number, and raises InputError, which names them.
    """
    return _READERS.get(shape, example_of)


def require_trainable(shape: Shape) -> Callable[[Row, Path, int], object]:
    """What raises the InputError that `reader_of` would, without making more of a row than that takes."""
    return turns_with_answer if reader_of(shape) is example_of else reader_of(shape) or (lambda *_: None)


_READERS: dict[Shape, Callable[[Row, Path, int], AnyExample] | None] = {
    "preference": pair_of,
    "rated": rated_of,
    "prompts": None,
}

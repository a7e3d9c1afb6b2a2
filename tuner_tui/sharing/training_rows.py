"""A run's training rows as prompt and answer, for the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner_tui.data.recognition.reading import evaluation_reading, training_reading
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.data.rows.preference import PairExample, RatedExample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side
    from tuner_tui.data.rows.types import Message
    from tuner_tui.sharing.scan import Row


def training_rows(spec: RunSpec) -> tuple[Row, ...]:
    """Prompt and answer of every row that the run read, both sides of a pair and held-out rows too.

    Rows are read as in training: mapped, fixed, mixed. Raises TunerError when they can no longer be read.
    """
    seed = spec.training.seed
    readings = [replace(training_reading(spec.data, seed), part="all")]
    held_out = evaluation_reading(spec.data, seed)
    if held_out is not None and held_out.part == "all":
        readings.append(held_out)
    examples = (example for reading in readings for example in read_for(spec.method.kind, reading)[1])
    return tuple(dict.fromkeys(row for example in examples for row in _rows(example)))


def _rows(example: AnyExample) -> Iterator[Row]:
    match example:
        case PairExample():
            for side in (example.chosen, example.rejected):
                yield from _sides(example.prompt, side)
        case RatedExample():
            yield from _sides(example.prompt, example.completion)
        case _ if example.messages:
            yield from _turns(example.messages)
        case _:
            yield example.prompt, example.text


def _sides(prompt: Side, answer: Side) -> Iterator[Row]:
    if isinstance(prompt, str) and isinstance(answer, str):
        yield prompt, answer
    else:
        turns = [*(() if isinstance(prompt, str) else prompt), *(() if isinstance(answer, str) else answer)]
        yield from _turns(turns)


def _turns(turns: tuple[Message, ...] | list[Message]) -> Iterator[Row]:
    question, is_answered = "", True
    for message in turns:
        if message.role == "assistant":
            yield question, "\n".join(message.texts)
            is_answered = True
        elif message.role == "user":
            if not is_answered:
                yield question, ""
            question, is_answered = message.content, False
    if not is_answered:
        yield question, ""

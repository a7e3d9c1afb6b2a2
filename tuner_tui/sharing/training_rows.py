"""A run's training rows as prompt and answer, for the scan of what leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.read import locate
from tuner_tui.data.shape import read_examples
from tuner_tui.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.shape import Example
    from tuner_tui.sharing.scan import Row


def training_rows(spec: RunSpec) -> tuple[Row, ...] | None:
    """Prompt and answer of every row, held-out ones too; None when the data cannot be read any more."""
    found: list[Row] = []
    for name in (spec.data.train, spec.data.evaluation):
        if name is None:
            continue
        try:
            _, examples = read_examples(locate(name), spec.data.shape)
        except TunerError:
            return None
        found += [row for example in examples for row in _rows(example)]
    return tuple(found)


def _rows(example: Example) -> Iterator[Row]:
    if not example.messages:
        yield example.prompt, example.text
        return
    asked = ""
    for message in example.messages:
        if message.role == "assistant":
            yield asked, message.content
        elif message.role == "user":
            asked = message.content

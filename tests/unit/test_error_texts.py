"""How an error reads in one line."""

from __future__ import annotations

import pytest

from tuner_tui.errors import TunerError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TunerError("No such file", "a.jsonl", "Check the path."), "No such file: a.jsonl. Check the path."),
        (
            TunerError("It is empty", "a.jsonl has no rows.", "Add some"),
            "It is empty: a.jsonl has no rows. Add some.",
        ),
        (TunerError("What is it?"), "What is it?"),
        (TunerError("Unknown columns", "a, b", ""), "Unknown columns: a, b."),
    ],
)
def test_each_part_is_a_sentence(error: TunerError, line: str) -> None:
    assert error.in_one_line == line

"""Pairs whose columns say which answer is preferred: chosen and rejected, under many names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuner_tui.data.recognition.columns import PAIRS, THOUGHT_COLUMNS, Columns, Kind
from tuner_tui.data.recognition.fields import as_turns, optional_text, side_of, text_of
from tuner_tui.data.recognition.layout import Layout
from tuner_tui.data.recognition.prompts import Prompt, prompt_column
from tuner_tui.data.rows.turns import hh_turns, is_hh

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.rows.comparison import Side


JUDGED = "rationale"
"""Beside a side of a pair it says why a judge chose or rejected it, and is no thought of the model."""


def find(columns: Columns) -> Iterator[Layout]:
    """The pair that a sample of rows has, if any."""
    pair = _pair(columns)
    if pair is None:
        return
    chosen, rejected = pair
    asked = Prompt.of(columns, chosen, rejected)
    prompt = asked.name
    mapping = {"chosen": f"{{{chosen}}}", "rejected": f"{{{rejected}}}"} | asked.mapping
    mapping = ({"prompt": mapping.pop("prompt")} if prompt else {}) | mapping
    thoughts = {side: _side_thoughts(columns, side) for side in pair}
    used = (chosen, rejected, *asked.names, *(name for name in thoughts.values() if name))
    sample = [value for value in columns.values(chosen) if isinstance(value, str)]
    if prompt is None and sample and sum(map(is_hh, sample)) > len(sample) / 2:

        def convert_dialogues(row: Row) -> Row:
            sides = [hh_turns(text_of(row, name), name) for name in (chosen, rejected)]
            return asked.row(row, {"chosen": sides[0], "rejected": sides[1]})

        reason = f"`{chosen}` and `{rejected}` are dialogues of Human: and Assistant:"
        yield Layout("preference", "HH dialogues", 0.97, reason, mapping, convert_dialogues, used)
        return

    def convert(row: Row) -> Row:
        sides = [_thinking(side_of(row, side), row, thoughts[side]) for side in (chosen, rejected)]
        return asked.row(row, {"chosen": sides[0], "rejected": sides[1]})

    is_turns = columns.kinds[chosen] in ("turns", "turn")
    variant = "pairs of turns" if is_turns else "pairs of texts"
    prompt_note = f" to `{prompt}`" if prompt else ""
    confidence = 0.99 if (chosen, rejected) == ("chosen", "rejected") else 0.85
    if prompt is None:
        variant += " without a prompt"
        confidence = 0.97 if is_turns else 0.55
    reason = f"`{chosen}` is preferred over `{rejected}` as an answer{prompt_note}"
    if any(thoughts.values()):
        reason += f", with the reasoning in {' and '.join(f'`{name}`' for name in thoughts.values() if name)}"
    yield Layout("preference", variant, confidence, reason, mapping, convert, used)


def _pair(columns: Columns) -> tuple[str, str] | None:
    numbers = [columns.find((side,), "number") for side in PAIRS[0]]
    if numbers[0] and numbers[1] and prompt_column(columns):
        return numbers[0], numbers[1]
    kinds: tuple[Kind, ...] = ("text", "turns", "turn", "object")
    for left, right in PAIRS:
        good, bad = columns.find((left,), *kinds), columns.find((right,), *kinds)
        if good and bad:
            return good, bad
    return None


def _side_thoughts(columns: Columns, side: str) -> str | None:
    """The column with the thoughts of one side, such as chosen_reasoning."""
    names = (f"{side.lower()}_{kind}" for kind in THOUGHT_COLUMNS if kind != JUDGED)
    others = (f"{kind}_{side.lower()}" for kind in THOUGHT_COLUMNS if kind != JUDGED)
    return columns.find((*names, *others), "text", "empty")


def _thinking(side: Side, row: Row, thoughts: str | None) -> Side:
    text = optional_text(row, thoughts)
    if not text:
        return side
    turns = as_turns(side, "assistant")
    return [*turns[:-1], {"reasoning_content": text, **turns[-1]}]

"""Unpaired preferences: one answer per row with a label or a score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.columns import ANSWERS, LABELS, QUESTIONS, SCORES, Columns
from tuner_tui.data.recognition.fields import as_turns, side_of, with_context
from tuner_tui.data.recognition.layout import Convert, Layout
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.recognition.verdicts import number_of
from tuner_tui.data.rows.comparison import Comparison
from tuner_tui.data.rows.faults import NothingPreferred, RowFault
from tuner_tui.data.rows.labels import BAD, GOOD, LabelReader, is_absent, label_reader

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HELPSTEER_SCALE = (0.0, 4.0)
"""https://huggingface.co/datasets/nvidia/HelpSteer2: each attribute is 0 to 4, whatever the first rows have."""


def find(columns: Columns) -> Iterator[Layout]:
    """The unpaired preferences that a sample of rows has, if any."""
    prompt = columns.find(QUESTIONS, "text", "turns", "turn")
    answer = columns.find(("completion", "response", *ANSWERS), "text", "turns", "turn")
    label = columns.find(LABELS, "bool", "number", "text")
    score = columns.find(SCORES, "number", "bool") or _written_labels(columns, SCORES)
    chosen = label or score
    if answer is None or chosen is None or prompt == answer:
        return
    is_helpsteer = all(columns.find((name,), "number", "text") for name in HELPSTEER)
    read_label = label_reader(columns.values(chosen), chosen, HELPSTEER_SCALE if is_helpsteer else None)
    if read_label is None:
        return

    beside = SideColumns.of(columns)
    more = columns.context_of(prompt) if prompt and columns.kinds[prompt] == "text" else None
    more = None if more == answer else more

    annotators = columns.find((f"{chosen}.responses.users",))

    def convert(row: Row) -> Row:
        asked, end = side_of(row, prompt) if prompt else None, side_of(row, answer)
        if isinstance(asked, str):
            asked = with_context(asked, row, more)
        if annotators is not None and row.get(chosen) is None:
            raise NothingPreferred("not annotated", f"`{chosen}` is empty.")
        label = {"label": read_label(row.get(chosen))}
        if not isinstance(asked, list) and isinstance(end, str) and not beside.has_system(row):
            return (
                ({} if asked is None else {"prompt": asked})
                | {"completion": end}
                | label
                | beside.beside_text(row)
            )
        begin = beside.begin(row, as_turns(asked, "user") if asked is not None else [])
        plain = {"completion": as_turns(end, "assistant")} | label | beside.beside(row)
        return ({"prompt": begin} if begin else {}) | plain

    mapping = {"prompt": f"{{{prompt}}}\n\n{{{more}}}" if more else f"{{{prompt}}}"} if prompt else {}
    mapping |= {"completion": f"{{{answer}}}", "label": f"{{{chosen}}}{read_label.rule}"} | beside.mapping
    is_named = annotators is not None or answer.lower() in ("completion", "response", "generation")
    confidence = (0.98 if label or annotators else 0.96) if is_named else 0.6 if label else 0.5
    if prompt is None and columns.kinds[answer] != "turns":
        confidence = 0.4
    reason = f"`{answer}` is one answer, rated by `{chosen}`{read_label.rule}"
    used = tuple(name for name in (prompt, more, answer, chosen, annotators, *beside.names) if name)
    compare = _scored(convert, read_label, chosen, columns.values(chosen))
    yield Layout("rated", "unpaired preference", confidence, reason, mapping, convert, used, compare)


def _written_labels(columns: Columns, names: tuple[str, ...]) -> str | None:
    """The column of one of some names whose texts are numbers, as a CSV file has them, or words such as good."""
    name = columns.find(names, "text")
    values = [value for value in columns.values(name) if not is_absent(value)] if name else []
    is_labels = bool(values) and (
        all(number_of(value) is not None for value in values) or {*map(_word, values)} <= GOOD | BAD
    )
    return name if is_labels else None


def _word(value: str) -> str:
    return value.strip().lower()


def _scored(
    convert: Convert, read_label: LabelReader, name: str, values: list[Any]
) -> Callable[[Row], Comparison] | None:
    """Rows whose scores are whole, and 1 to 5 or 0 to 4, with the score itself; None for other labels."""
    ends = (int(read_label.least), int(read_label.most)) if math.isfinite(read_label.least) else ()
    scores = [value for value in values if not is_absent(value)]
    if ends not in ((1, 5), (0, 4)) or not all(float(value).is_integer() for value in scores):
        return None

    def compare(row: Row) -> Comparison:
        plain = convert(row)
        score = float(row[name]) + (ends == (0, 4))
        if not score.is_integer():
            raise RowFault("A score is not a whole number", f"`{name}` is {row[name]!r}.")
        return Comparison(plain.get("prompt"), (plain["completion"],), scores=(int(score),))

    return compare

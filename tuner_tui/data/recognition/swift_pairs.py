"""Pairs as ms-swift has them: a conversation whose last answer is preferred, and the rejected answer beside it.

https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html: `messages` with `rejected_response`, which
takes the last answer's place, or with `rejected_messages`, a conversation of its own; and `query` and `response` with
`rejected_response`, the earlier form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuner_tui.data.recognition.columns import TURNS
from tuner_tui.data.recognition.fields import as_turns, earlier_turns, side_of
from tuner_tui.data.recognition.layout import Layout
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.turns import turns_of

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.columns import Columns


def find(columns: Columns) -> Iterator[Layout]:
    """The pairs that a sample of rows has, if any."""
    response = columns.find(("rejected_response",), "text", "turn", "turns")
    whole = columns.find(("rejected_messages",), "turns")
    talk = columns.find(TURNS[:2], "turns")
    if columns.find(("chosen", "chosen_messages", "chosen_response", "preferred_response")) is not None:
        return
    if talk is not None and (response or whole):
        yield _of_messages(columns, talk, response, whole)
    asked, answer = columns.find(("query",), "text"), columns.find(("response",), "text")
    if talk is None and asked is not None and answer is not None and response is not None:
        yield _of_query(columns, asked, answer, response)


def _of_messages(columns: Columns, talk: str, response: str | None, whole: str | None) -> Layout:
    beside = SideColumns.of(columns)

    def convert(row: Row) -> Row:
        chosen = turns_of(row.get(talk), talk)
        if chosen[-1]["role"] != "assistant":
            raise RowFault(
                "A side is not an answer", f"`{talk}` must end with the assistant's turn, which is preferred."
            )
        if whole is not None and row.get(whole):
            rejected = turns_of(row[whole], whole)
            if response is not None and row.get(response):
                raise RowFault(
                    "There are two rejected answers",
                    f"The row has both `{response}` and `{whole}`.",
                    "Keep one.",
                )
            sides = {"chosen": beside.begin(row, chosen), "rejected": beside.begin(row, rejected)}
            return sides | beside.beside(row)
        name = str(response or whole)
        answer = as_turns(side_of(row, name), "assistant")
        prompt = beside.begin(row, chosen[:-1])
        return {
            "prompt": prompt,
            "chosen": chosen[-1:],
            "rejected": answer,
        } | beside.beside(row)

    used = tuple(name for name in (talk, response, whole, *beside.names) if name)
    mapping = {"chosen": f"{{{talk}}}", "rejected": f"{{{response or whole}}}"} | beside.mapping
    reason = f"`{talk}` ends with the preferred answer, and `{response or whole}` is the rejected one"
    return Layout("preference", "ms-swift pairs", 0.99, reason, mapping, convert, used)


def _of_query(columns: Columns, asked: str, answer: str, rejected: str) -> Layout:
    beside = SideColumns.of(columns)
    history = columns.find(("history",), "other", "empty", "turns", "texts")

    def convert(row: Row) -> Row:
        turns = [*earlier_turns(row, history), *as_turns(side_of(row, asked), "user")]
        sides = {
            name: as_turns(side_of(row, column), "assistant")
            for name, column in (("chosen", answer), ("rejected", rejected))
        }
        return {"prompt": beside.begin(row, turns)} | sides | beside.beside(row)

    mapping = {
        "prompt": f"{{{asked}}}",
        "chosen": f"{{{answer}}}",
        "rejected": f"{{{rejected}}}",
    } | beside.mapping
    reason = f"`{answer}` is preferred over `{rejected}` as an answer to `{asked}`"
    if history:
        reason += f" after `{history}`"
    used = tuple(name for name in (asked, answer, rejected, history, *beside.names) if name)
    return Layout("preference", "ms-swift pairs", 0.99, reason, mapping, convert, used)

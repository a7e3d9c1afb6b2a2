"""Which rows of a data set have parts of a kind that no row before them had, such as thoughts, calls or tools.

What a chat template leaves out depends on these kinds, so that not every row has to be rendered to find it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tuner_tui.data.tokens.marked_parts import tags_in

Row = dict[str, Any]
FIRST_TURNS, LAST_TURNS = 6, 2
"""Turns of which the order counts."""
LONGEST_SWITCH = 20
"""Letters of a word that may be a switch of the template."""


class RowKinds:
    """The kinds of parts that the rows had so far."""

    def __init__(self) -> None:
        self._rows: set[Any] = set()
        self._plain: set[str] = set()
        self._single: set[Any] = set()
        self._tools: set[int] = set()

    def is_new(self, row: Row) -> bool:
        """Whether a row in plain form has parts that no row before it had, or together with others than before."""
        if len(row) == 1 and "messages" in row and (roles := _plain_roles(row["messages"])):
            if roles in self._plain:
                return False
            self._plain.add(roles)
        kinds = [(name, _kind(name, value)) for name, value in row.items()]
        is_new = _add(self._rows, tuple(kinds))
        for single in self._singles(row):
            is_new |= _add(self._single, single)
        return is_new

    def _singles(self, row: Row) -> Iterator[Any]:
        """What counts by itself: a tag in what a role says, and keywords of the tools."""
        for value in row.values():
            if isinstance(value, list):
                last = len(value) - 1
                for place, turn in enumerate(value):
                    text = turn.get("content") if isinstance(turn, dict) else None
                    if isinstance(text, str) and ("<" in text or "[" in text):
                        for tag in tags_in(text):
                            yield turn.get("role"), tag, place == last
        for tool in row.get("tools") or ():
            key = hash(msgspec.json.encode(tool, enc_hook=str))
            if key not in self._tools:
                self._tools.add(key)
                for keyword in _keywords(tool):
                    yield "tools", keyword


def _add(known: set[Any], kind: Any) -> bool:
    if kind in known:
        return False
    known.add(kind)
    return True


def _plain_roles(turns: list[dict[str, Any]]) -> str:
    """How the roles begin of turns that say nothing but a text without tags; empty for others."""
    roles = ""
    for turn in turns:
        text = turn["content"]
        if len(turn) > 2 or not text or text.isspace() or "<" in text or "[" in text:
            return ""
        roles += turn["role"][0]
    return roles


def _ends(kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first and last turns, and what stands between them without its order."""
    if len(kinds) <= FIRST_TURNS + LAST_TURNS:
        return kinds
    between = sorted({*zip(kinds[FIRST_TURNS - 1 :], kinds[FIRST_TURNS:-LAST_TURNS], strict=False)}, key=repr)
    return (*kinds[:FIRST_TURNS], *between, *kinds[-LAST_TURNS:])


def _kind(name: str, value: Any) -> Any:
    """What kind of thing a part of a row is."""
    if name == "tools":
        return bool(value)
    if name == "chat_template_kwargs" and isinstance(value, dict):
        return tuple(sorted((key, _switch(each)) for key, each in value.items()))
    if isinstance(value, list):
        return _ends(tuple(map(_turn_kind, value)))
    return value if isinstance(value, bool) else type(value).__name__


def _switch(value: Any) -> str:
    is_word = isinstance(value, str) and len(value) <= LONGEST_SWITCH and value.replace("_", "").isalpha()
    return repr(value) if is_word or isinstance(value, bool) else type(value).__name__


def _turn_kind(turn: Any) -> Any:
    if not isinstance(turn, dict):
        return type(turn).__name__
    text = turn.get("content")
    has_text = isinstance(text, str) and bool(text) and not text.isspace()
    if len(turn) == 2:
        return turn.get("role"), has_text
    fields = tuple(sorted(name for name in turn if turn[name] not in (None, "", [], {})))
    arguments = {
        type(call["function"].get("arguments")).__name__ if isinstance(call.get("function"), dict) else ""
        for call in turn.get("tool_calls") or ()
        if isinstance(call, dict)
    }
    calls = min(2, len(turn.get("tool_calls") or ()))
    return turn.get("role"), has_text, fields, turn.get("weight"), calls, tuple(sorted(arguments))


def _keywords(value: Any) -> Iterator[str]:
    """The names of a tool's schema, but for those of its parameters."""
    if isinstance(value, list):
        for each in value:
            yield from _keywords(each)
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            if name == "properties" and isinstance(each, dict):
                for schema in each.values():
                    yield from _keywords(schema)
            else:
                yield from _keywords(each)

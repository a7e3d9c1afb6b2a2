"""Recorded steps that fix rows while they are read; the file itself is never changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuner_tui.data.checking.scan import UNWANTED, has_secret
from tuner_tui.data.rows.content import content_key, is_empty, says_same, texts_of
from tuner_tui.data.rows.faults import LeftOut
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.files.rows import Found

TURN_PARTS = ("messages", "prompt", "completion", "chosen", "rejected")
FIXES = {
    "drop_broken": "leave out rows that cannot be read",
    "drop_empty": "leave out rows without an answer",
    "drop_duplicates": "keep the first of equal rows",
    "drop_same_sides": "leave out pairs whose sides are equal",
    "drop_leaked": "leave out rows that are also in the evaluation data",
    "drop_secrets": "leave out rows with likely secrets or e-mail addresses",
    "trim": "strip whitespace around texts",
    "clean": "remove control, direction and zero-width characters",
    "merge_system": "put the system prompt at the beginning of the first user turn, for templates without that role",
}
"""The steps by name, and what each does; the order is that in which they are taken."""


@dataclass
class Fixer:
    """Takes the steps that the spec names, and counts what each did."""

    steps: tuple[str, ...]
    leaked: frozenset[int] = frozenset()
    """`content_key` of rows that drop_leaked leaves out."""
    counts: Counter[str] = field(default_factory=Counter)
    """Rows that each step dropped or changed."""
    _seen: set[int] = field(default_factory=set)

    def apply(self, rows: Iterator[Found]) -> Iterator[Found]:
        """The rows after all steps; broken ones stay unless they are to be dropped."""
        if not self.steps:
            yield from rows
            return
        for found in rows:
            if isinstance(found.row, InputError):
                if "drop_broken" in self.steps and not isinstance(found.row, LeftOut):
                    self.counts["drop_broken"] += 1
                else:
                    yield found
                continue
            row = self._changed(found.row)
            if "merge_system" in self.steps:
                merged = _with_merged_system(row)
                self.counts["merge_system"] += merged != row
                row = merged
            if not self._is_dropped(row):
                yield found._replace(row=row)

    def _changed(self, row: Row) -> Row:
        for step, change in _CHANGES.items():
            if step in self.steps:
                changed = _mapped(row, change, kept=_KEPT if step == "clean" else (*_KEPT, "tool_calls"))
                self.counts[step] += changed != row
                row = changed
        return row

    def _is_dropped(self, row: Row) -> bool:
        for step, is_bad in _DROPS.items():
            if step in self.steps and is_bad(row):
                self.counts[step] += 1
                return True
        key = content_key(row) if {"drop_leaked", "drop_duplicates"} & {*self.steps} else 0
        if "drop_leaked" in self.steps and key in self.leaked:
            self.counts["drop_leaked"] += 1
            return True
        if "drop_duplicates" in self.steps:
            if key in self._seen:
                self.counts["drop_duplicates"] += 1
                return True
            self._seen.add(key)
        return False


_UNWANTED = re.compile(UNWANTED)
_CHANGES: dict[str, Callable[[str], str]] = {
    "clean": lambda text: _UNWANTED.sub("", text),
    "trim": str.strip,
}
_DROPS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "drop_empty": is_empty,
    "drop_same_sides": says_same,
    "drop_secrets": lambda row: any(has_secret(text) for text in texts_of(row)),
}


def _with_merged_system(row: Row) -> Row:
    """A row whose system prompts stand at the beginning of the first user turn after them."""
    return {
        part: _merged(value) if part in TURN_PARTS and isinstance(value, list) else value
        for part, value in row.items()
    }


def _merged(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    waiting: list[str] = []
    for turn in turns:
        if turn["role"] == "system":
            waiting.append(turn["content"])
        elif waiting and turn["role"] == "user":
            found.append({**turn, "content": "\n\n".join([*waiting, turn["content"]])})
            waiting = []
        else:
            found.append(turn)
    if waiting:  # nobody asks after it
        place = next((n for n, turn in enumerate(found) if turn["role"] == "assistant"), len(found))
        found.insert(place, {"role": "user", "content": "\n\n".join(waiting)})
    return found


_KEPT = ("tools", "chat_template_kwargs")
_NAMES = ("role", "name", "type", "id", "tool_call_id")


def _mapped(value: Any, change: Callable[[str], str], key: str = "", *, kept: tuple[str, ...]) -> Any:
    """A row with its texts changed; names and what is kept stay as they are."""
    if isinstance(value, str):
        return value if key in _NAMES else change(value)
    if isinstance(value, list):
        return [_mapped(each, change, kept=kept) for each in value]
    if isinstance(value, dict):
        return {
            name: each if name in kept else _mapped(each, change, name, kept=kept)
            for name, each in value.items()
        }
    return value

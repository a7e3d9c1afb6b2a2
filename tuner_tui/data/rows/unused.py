"""Fields of rows that no reader uses, counted by name while rows are read, so that they can be listed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from typing import Any

from tuner_tui.data.files.formats import BESIDE_ROWS, WITHOUT_TEXT

_PLAIN_NAME = re.compile(r"[^\s,;:\"'`\x00-\x1f\x7f-\x9f]+")
_OF_TURNS = re.compile(r" \(of \w+ turns\)$")
"""What `turns_of` adds to a name."""
_current: ContextVar[set[str] | None] = ContextVar("unused_fields", default=None)


class UnusedFields:
    """The fields of a data set that are not used, and in how many rows each says something."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.not_read: dict[str, str] = {}
        """What a container holds besides the rows that are read, by name, and how much, such as "2 rows"."""

    def reading(self, row: Mapping[str, Any], used: AbstractSet[str], read: Callable[[Any], Any]) -> Any:
        """What `read` makes of a row; the names that it and its readers pass over count, each once."""
        names = {name for name in row.keys() - used if row[name] not in (None, "", [], {})}
        token = _current.set(names)
        try:
            return read(row)
        finally:
            _current.reset(token)
            if names:
                self.counts.update(sorted(names))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, the commonest first."""
        return tuple(name for name, _ in self.counts.most_common())


def not_read_words(not_read: Mapping[str, str], option: str = "", most: int = 8) -> str:
    """What of a container is not read, in one line; empty where all of it is. `option` selects a split."""
    if not not_read:
        return ""
    parts = [f"{field_name(name)} ({much})" for name, much in [*not_read.items()][:most]]
    left = len(not_read) - len(parts)
    has_splits = any(WITHOUT_TEXT not in name and name != BESIDE_ROWS for name in not_read)
    hint = f" {option} selects a split." if option and has_splits else ""
    return f"Not read: {', '.join(parts)}{f' and {left} more' if left else ''}.{hint}"


def field_name(name: str) -> str:
    """A field's name in a list of them: quoted where it is empty, or holds spaces, commas, quotes or controls."""
    added = _OF_TURNS.search(name)
    own = name[: added.start()] if added else name
    shown = own if _PLAIN_NAME.fullmatch(own) else json.dumps(own, ensure_ascii=False)
    return f"{shown}{added[0] if added else ''}"


def is_used_with(name: str, loss_on: str) -> bool:
    """Whether a name is of a mark that says to train a turn which is no answer: it is, where all tokens have loss."""
    return loss_on == "all" and _OF_TURNS.search(name) is not None


def pass_over(name: str) -> None:
    """Say that a field of the row at hand is not used; a no-op where nobody gathers."""
    names = _current.get()
    if names is not None:
        names.add(name)

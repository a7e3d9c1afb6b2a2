"""YAML read as plain values with the line of each key: no tags, no duplicate keys, no aliases that multiply.

PyYAML's parser gives the events and its safe resolver the scalars; no object of a class is ever constructed. Limits are
checked on the events, before anything is built of them, since an alias costs nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]
"""Where a value stands: keys and list indexes, such as ("datasets", 0, "path")."""

DEEPEST = 32
MOST_VALUES = 20_000
"""Values of a file with its aliases written out; settings have some hundred."""
_BASE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_SCALARS = tuple(_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp"))
_ALLOWED_TAGS = (*_SCALARS, _TAG + "map", _TAG + "seq", "!")
_MERGE = _TAG + "merge"


class BadText(Exception):
    """A text that is refused: the reason, with its line (from 1) and key if they are known."""

    def __init__(self, reason: str, line: int | None = None, key: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.line, self.key, self.hint = reason, line, key, hint


@dataclass
class Parsed:
    """The values of a text."""

    values: Any
    lines: dict[Place, int] = field(default_factory=dict)
    """The line of each key and list item, from 1."""


def parse_yaml(text: str) -> Parsed:
    """Values and lines of a YAML text. Raises BadText."""
    try:
        _require_limits(yaml.parse(text, Loader=_BASE))
        node = yaml.compose(text, Loader=_BASE)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = plain(error.problem or error.context or "it is not YAML")
        hint = "Indent with spaces." if "cannot start any token" in reason else ""
        raise BadText(f"not YAML: {reason}", mark.line + 1 if mark else None, hint=hint) from None
    except yaml.YAMLError as error:
        raise BadText(f"not YAML: {plain(str(error).splitlines()[0])}") from None
    parsed = Parsed(None)
    if node is not None:
        parsed.values = _Builder(parsed.lines).value(node, ())
    return parsed


def _require_limits(events: Iterator[Any]) -> None:
    """Raises BadText for what is too deep or too much, a tag, a second document, or an alias within itself."""
    sizes: dict[str, int] = {}
    opened: list[list[Any]] = []  # anchor and number of values of each collection that is open
    total = documents = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise BadText("a second document begins here; a file of settings has one", line)
        if getattr(event, "tag", None) is not None and event.tag not in _ALLOWED_TAGS:
            raise BadText(f"the tag {_short_tag(event.tag)} is not allowed", line, hint="Remove the tag.")
        added = 0
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                inside = any(anchor == event.anchor for anchor, _ in opened)
                reason = "contains itself" if inside else "is not defined before"
                raise BadText(f"the alias *{plain(event.anchor)} {reason}", line)
            added = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            added = 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            opened.append([event.anchor, 1])
            if len(opened) > DEEPEST:
                raise BadText(f"values are nested more than {DEEPEST} deep", line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            anchor, added = opened.pop()
            if anchor:
                sizes[anchor] = added
        if added:
            if opened:
                opened[-1][1] += added
            total = max(total, opened[-1][1] if opened else added)
        if total > MOST_VALUES:
            raise BadText(
                f"the aliases and values come to more than {MOST_VALUES:,} values",
                line,
                hint="Aliases of aliases multiply; write the values out.",
            )


def _short_tag(tag: str) -> str:
    return plain(tag.replace(_TAG, "!!")[:60])


class _Builder:
    """Builds plain values of nodes. Raises BadText."""

    def __init__(self, lines: dict[Place, int]) -> None:
        self._lines = lines
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: Any, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                self._lines[(*place, number)] = item.start_mark.line + 1
                items.append(self.value(item, (*place, number)))
            return items
        return self._scalar(node, place)

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        made: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if not isinstance(source, yaml.MappingNode):
                        raise BadText("<< merges a value that is not a table of keys", line)
                    merged = self._mapping(source, place) | merged  # the first one counts
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadText("a key is a list or a table; keys are words", line)
            key = str(key_node.value)
            if key in lines:
                raise BadText(
                    f"the key is given twice, first on line {lines[key]}",
                    line,
                    plain(key),
                    "Remove one of the two.",
                )
            lines[key] = self._lines[(*place, key)] = line
            made[key] = self.value(value_node, (*place, key))
        return {**{key: value for key, value in merged.items() if key not in made}, **made}

    def _scalar(self, node: Any, place: Place) -> Any:
        if node.tag not in _SCALARS:  # a resolved oddity such as "=" or "<<" as a value
            return str(node.value)
        if node.tag == _TAG + "timestamp":
            return str(node.value)
        line, key = node.start_mark.line + 1, ".".join(map(str, place))
        try:
            return self._scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            raise BadText("the value cannot be read", line, plain(key), "Put text in quotes.") from None

"""The tables of the tools: what each of their settings is here. Data in tables/*.toml, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

TOOLS = ("axolotl", "llama-factory", "unsloth", "trl", "folder")
"""What `--from` can name; a folder has tables of its own for each of its files."""


@dataclass(frozen=True)
class Word:
    """What one value of a setting sets here."""

    ours: Mapping[str, Any]
    reason: str
    """Empty where name and meaning are the same but for spelling."""


@dataclass(frozen=True)
class Words:
    """A setting whose values are words."""

    key: str
    values: Mapping[str, Word]
    is_first: bool
    """Whether it decides on method or tuning, which others depend on."""
    when: Mapping[str, tuple[str, ...]]
    """Other settings that must have one of these values for it to count."""
    otherwise: str


@dataclass(frozen=True)
class Left:
    """Settings that are not taken, with the reason."""

    patterns: tuple[str, ...]
    reason: str
    matters: bool
    """Whether the result may differ without them."""


@dataclass(frozen=True)
class Table:
    """All that is known of one tool's settings."""

    name: str
    title: str
    version: str
    signature: tuple[str, ...]
    whole: tuple[str, ...]
    full_weights: str
    """The dtype of the weights under full tuning with 16-bit computation."""
    roles: Mapping[str, tuple[str, ...]]
    """Settings that are converted together with others, by what they are."""
    take: Mapping[str, str]
    words: tuple[Words, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    """Settings that have one value here; others are not taken."""
    left: tuple[Left, ...]
    defaults: Mapping[str, Any]
    tuning_defaults: Mapping[str, Mapping[str, Any]]
    method_defaults: Mapping[str, Mapping[str, Any]]
    role_defaults: Mapping[str, Any]
    more: Mapping[str, Any]
    """What only this tool's own module reads."""

    @property
    def label(self) -> str:
        return f"{self.title} {self.version}"

    def left_reason(self, key: str) -> Left | None:
        return next(
            (left for left in self.left if any(fnmatchcase(key, pattern) for pattern in left.patterns)), None
        )

    def knows(self, key: str) -> bool:
        """Whether a dotted key is in the table."""
        return (
            key in self.take
            or key in self.fixed
            or any(key in keys for keys in self.roles.values())
            or any(key == words.key for words in self.words)
            or self.left_reason(key) is not None
        )


@cache
def table(name: str) -> Table:
    """The table of a tool or file."""
    own = _read(name)
    tool = own["tool"]
    base = _read(tool["include"]) if "include" in tool else {}

    def joined(part: str) -> dict[str, Any]:
        return {**base.get(part, {}), **own.get(part, {})}

    return Table(
        name,
        tool["title"],
        tool["version"],
        tuple(tool.get("signature", ())),
        tuple(tool.get("whole", ())),
        tool.get("full_weights", ""),
        {role: tuple(keys) for role, keys in joined("roles").items()},
        joined("take"),
        tuple(_words(key, made) for key, made in joined("words").items()),
        {key: tuple(values) for key, values in joined("fixed").items()},
        tuple(
            Left(tuple(left["keys"]), left["reason"], left.get("matters", False))
            for left in (*own.get("left", ()), *base.get("left", ()))
        ),
        joined("defaults"),
        own.get("tuning_defaults", {}),
        {
            each["kind"]: {key: value for key, value in each.items() if key != "kind"}
            for each in own.get("method_defaults", ())
        },
        joined("role_defaults"),
        own,
    )


def _words(key: str, made: Mapping[str, Any]) -> Words:
    values: dict[str, Word] = {}
    for theirs, ours in made.get("values", {}).items():
        if isinstance(ours, Mapping):
            reason = "" if ours.get("same") else ours.get("reason", made.get("reason", ""))
            values[theirs] = Word(ours["set"], reason)
        else:
            changed = str(ours).lower() != theirs
            values[theirs] = Word({made["key"]: ours}, made.get("reason", "") if changed else "")
    when = {name: tuple(allowed) for name, allowed in made.get("when", {}).items()}
    return Words(key, values, made.get("first", False), when, made.get("otherwise", ""))


def _read(name: str) -> dict[str, Any]:
    text = files("tuner_tui.importing").joinpath("tables", f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)

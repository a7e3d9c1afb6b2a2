"""Applies the tables to the values of a source: what is the same here, what has another name, and what is left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.config.methods.traits import DEFAULT_METHOD, method_traits
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.tunings.traits import DEFAULT_TUNING, tuning_traits
from tuner_tui.config.tunings.traits import TRAITS as TUNINGS
from tuner_tui.importing.source import shown
from tuner_tui.importing.values import as_option, default_of, has_option, word
from tuner_tui.text import listed, plain

if TYPE_CHECKING:
    from tuner_tui.importing.ledger import Ledger
    from tuner_tui.importing.source import Source
    from tuner_tui.importing.table import Table, Words
    from tuner_tui.importing.yaml_text import Place


@dataclass(frozen=True)
class Part:
    """A file and the table of its settings."""

    source: Source
    table: Table


@dataclass(frozen=True)
class Given:
    """A setting with a role that the source has, and its value."""

    file: str
    place: Place
    value: Any

    @property
    def key(self) -> str:
        return shown(self.place)


class Rules:
    """One import: the account, and the tables of its files."""

    def __init__(self, ledger: Ledger, parts: Iterable[Part], folders: tuple[Path, ...]) -> None:
        """`folders` are those that relative paths of the source may refer to, the likeliest first."""
        self.ledger = ledger
        self.parts = tuple(parts)
        self.folders = folders

    @property
    def method(self) -> str:
        return str(self.ledger.spec.get("method.kind", DEFAULT_METHOD))

    @property
    def tuning(self) -> str:
        return str(self.ledger.spec.get("tuning.kind", DEFAULT_TUNING))

    def role(self, name: str) -> Given | None:
        """The first setting with a role that is not accounted for; further ones are not taken beside it."""
        found: Given | None = None
        for part in self.parts:
            for key in part.table.roles.get(name, ()):
                place = tuple(key.split("."))
                if not self.ledger.is_open(part.source.name, place):
                    continue
                value = self.ledger.value(part.source.name, place)
                if value is None:
                    self.ledger.close(part.source.name, [place], "not_needed", "off or empty")
                elif found is None:
                    found = Given(part.source.name, place, value)
                else:
                    self.ledger.close(
                        part.source.name,
                        [place],
                        "not_taken",
                        f"{found.key} is the same setting and takes precedence",
                    )
        return found

    def role_default(self, name: str) -> Any:
        """The tool's default for a role; None if it has none."""
        return next(
            (part.table.role_defaults[name] for part in self.parts if name in part.table.role_defaults),
            None,
        )

    def default_reason(self, *names: str) -> str:
        """Whose default it is: of the table that has a default for one of these options or roles."""
        found = (
            part.table
            for part in self.parts
            for name in names
            if name in part.table.defaults or name in part.table.role_defaults
        )
        return f"default of {next(found, self.parts[0].table).label}"

    def more(self, source: Source) -> Mapping[str, Any]:
        """What the table of a source has for its tool's own module."""
        return next(part.table.more for part in self.parts if part.source is source)

    def take(
        self,
        given: Given,
        ours: Mapping[str, Any],
        reason: str = "",
        more: Iterable[Place] = (),
        *,
        is_converted: bool | None = None,
    ) -> bool:
        return self.ledger.take(given.file, [given.place, *more], ours, reason, is_converted=is_converted)

    def refuse(self, given: Given, reason: str) -> None:
        """Not taken, with the reason; the result may differ."""
        self.ledger.close(given.file, [given.place], "not_taken", reason)

    def skip(self, given: Given, reason: str) -> None:
        """Not needed here, with the reason."""
        self.ledger.close(given.file, [given.place], "not_needed", reason)

    def choose_kinds(self) -> None:
        """Method and tuning, on which it depends what else there is."""
        for part in self.parts:
            for words in part.table.words:
                if words.is_first:
                    self._words(part, words)
        if "tuning.kind" not in self.ledger.spec and (tuning := self.role_default("tuning")):
            self.ledger.set_default("tuning.kind", tuning, self.default_reason("tuning"))

    def apply(self) -> None:
        """Everything that depends on no other setting."""
        for part in self.parts:
            for words in part.table.words:
                self._words(part, words)
            for key, ours in part.table.take.items():
                self._take(part, key, ours)

    def finish(self) -> None:
        """Defaults of the tool, settings that have one value here, and the rest with its reasons."""
        for part in self.parts:
            self._leave(part)
            self._set_defaults(part.table)
        self.ledger.leave_rest(f"is not a setting of {self.parts[0].table.label} that is known here")

    def set_default(self, key: str, value: Any, reason: str = "") -> None:
        """A default of the tool, where the option exists and ours is another one."""
        if has_option(key, self.method, self.tuning) and default_of(key, self.method, self.tuning) != value:
            self.ledger.set_default(key, value, reason or self.default_reason(key))

    def _set_defaults(self, table: Table) -> None:
        of_kinds = {
            **table.tuning_defaults.get(self.tuning, {}),
            **table.method_defaults.get(self.method, {}),
        }
        for key, value in {**table.defaults, **of_kinds}.items():
            self.set_default(key, value, f"default of {table.label}")

    def _take(self, part: Part, key: str, ours: str) -> None:
        place = tuple(key.split("."))
        if not self.ledger.is_open(part.source.name, place):
            return
        given = Given(part.source.name, place, self.ledger.value(part.source.name, place))
        if given.value is None:
            self.skip(given, "off or empty")
        elif not has_option(ours, self.method, self.tuning):
            self.skip(given, self.no_option(ours))
        else:
            self.take(given, {ours: as_option(ours, given.value, self.method, self.tuning)})

    def no_option(self, key: str) -> str:
        """The reason for leaving out what sets an option that method or tuning does not have."""
        section, _, name = key.partition(".")
        if section == "method" and self.method in METHODS:
            return f"{method_traits(self.method).title} has no {name} here"
        if section == "tuning" and self.tuning in TUNINGS:
            return f"{tuning_traits(self.tuning).title} has no {name} here"
        return f"there is no {key}"

    def _words(self, part: Part, words: Words) -> None:
        file, place = part.source.name, tuple(words.key.split("."))
        if not self.ledger.is_open(file, place):
            return
        given = Given(file, place, self.ledger.value(file, place))
        for other, allowed in words.when.items():
            if word(part.source.values.get(other)) not in allowed:
                self.skip(given, f"counts only where {other} is {listed(allowed, 'or')}")
                return
        text = word(given.value)
        if given.value is None:
            self.skip(given, "off or empty")
        elif text is None or text not in words.values:
            if words.otherwise or given.value is not False:
                self.refuse(given, words.otherwise or f"expected {listed(list(words.values), 'or')}")
            else:
                self.skip(given, "off or empty")
        else:
            self._take_word(given, words.values[text].ours, words.values[text].reason)

    def _take_word(self, given: Given, ours: Mapping[str, Any], reason: str) -> None:
        if not ours:
            self.skip(given, reason)
            return
        kinds = {section: ours.get(f"{section}.kind", kind) for section, kind in self._kinds().items()}
        usable = {key: value for key, value in ours.items() if has_option(key, **kinds)}
        if not usable:
            self.skip(given, self.no_option(next(iter(ours))))
            return
        standing = {key: self.ledger.spec[key] for key in usable if key in self.ledger.spec}
        if any(standing[key] != usable[key] for key in standing) and any(
            key.endswith(".kind") for key in standing
        ):
            self.take(given, standing, f"{_values(standing)} is set already")
            return
        self.take(given, usable, reason)

    def _kinds(self) -> dict[str, str]:
        return {"method": self.method, "tuning": self.tuning}

    def _leave(self, part: Part) -> None:
        file = part.source.name
        for place in self.ledger.open_places(file):
            key = ".".join(map(str, place))
            value = self.ledger.value(file, place)
            if key in part.table.fixed:
                allowed = part.table.fixed[key]
                found = as_number(value)
                if any(found == as_number(item) for item in allowed):
                    self.ledger.close(file, [place], "not_needed", "as here")
                    continue
            left = part.table.left_reason(key)
            if left is not None:
                self.ledger.close(file, [place], "not_taken" if left.matters else "not_needed", left.reason)
            elif key in part.table.fixed:
                only = listed([json.dumps(item) for item in part.table.fixed[key]], "or")
                self.ledger.close(file, [place], "not_taken", f"it is always {only} here")


def as_number(value: Any) -> Any:
    """A number written as text as that number; other text in lower case, and other values as they are."""
    from tuner_tui.importing.values import number

    if isinstance(value, str):
        found = number(value)
        return value.strip().lower() if found is None else found
    return value if not isinstance(value, list) else tuple(map(as_number, value))


def _values(ours: Mapping[str, Any]) -> str:
    return plain(", ".join(f"{key} = {json.dumps(value)}" for key, value in ours.items()))

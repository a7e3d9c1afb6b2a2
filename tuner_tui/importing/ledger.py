"""The account of an import: where each value of the source went, and which of our options it set.

One owner of both: a value is accounted for once, an option is set once, and what no rule took is left over at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui.importing.source import leaves, shown

if TYPE_CHECKING:
    from tuner_tui.importing.source import Source
    from tuner_tui.importing.yaml_text import Place

Account = Literal["taken", "converted", "not_needed", "not_taken"]
"""`taken`: same meaning here; `converted`: another value or meaning; `not_needed`: nothing is lost without it."""
EMPTY: tuple[Any, ...] = (None, False, "", [], {})
"""Values by which a setting is off."""


@dataclass(frozen=True)
class Entry:
    """Where one value of the source went."""

    file: str
    line: int | None
    key: str
    """The source's key, such as datasets[0].path."""
    account: Account
    ours: Mapping[str, Any]
    """Our options that it set, by dotted key."""
    reason: str = ""


@dataclass(frozen=True)
class Default:
    """A value of our spec that stands for a default of the tool."""

    key: str
    value: Any
    reason: str


class Ledger:
    """What has been accounted for so far, and the run spec that comes of it."""

    def __init__(self, sources: Iterable[tuple[Source, tuple[str, ...]]]) -> None:
        """Sources, each with the keys whose values count as one, such as a log."""
        self._open: dict[tuple[str, Place], Any] = {}
        self._sources: dict[str, Source] = {}
        self._entries: dict[tuple[str, Place], Entry] = {}
        self.spec: dict[str, Any] = {}
        """Our options that were set, by dotted key."""
        self.defaults: list[Default] = []
        for source, whole in sources:
            self.add(source, whole)

    def add(self, source: Source, whole: tuple[str, ...] = (), only: Place = ()) -> None:
        """One more file; with `only`, of the part below a place."""
        self._sources[source.name] = source
        for place, value in leaves(source.values, whole):
            if place[: len(only)] == only and (source.name, place) not in self._entries:
                self._open.setdefault((source.name, place), value)

    def open_places(self, file: str) -> list[Place]:
        """Places of a file that are not accounted for yet."""
        return [place for name, place in self._open if name == file]

    def is_open(self, file: str, place: Place) -> bool:
        return (file, place) in self._open

    def value(self, file: str, place: Place) -> Any:
        """A value that is not accounted for yet; None if there is none."""
        return self._open.get((file, place))

    def take(
        self,
        file: str,
        places: Iterable[Place],
        ours: Mapping[str, Any],
        reason: str = "",
        *,
        is_converted: bool | None = None,
    ) -> bool:
        """Set options from values; with a reason they count as converted. False if other keys had set them before."""
        places = [place for place in places if (file, place) in self._open]
        for key, value in ours.items():
            if key in self.spec and self.spec[key] != value:
                self.close(file, places, "not_taken", f"{key} is already set by another key")
                return False
        self.spec |= ours
        converted = bool(reason) if is_converted is None else is_converted
        self.close(file, places, "converted" if converted else "taken", reason, ours)
        return True

    def close(
        self,
        file: str,
        places: Iterable[Place],
        account: Account,
        reason: str,
        ours: Mapping[str, Any] | None = None,
    ) -> None:
        """Account for values without setting an option; a place of a table accounts for all that is open below it."""
        source = self._sources[file]
        for place in places:
            below = [
                key for key in list(self._open) if key[0] == file and key[1][: len(place)] == tuple(place)
            ]
            for _, leaf in below:
                value = self._open.pop((file, leaf))
                is_off = account == "not_taken" and any(
                    value is off or (value == off and type(value) is type(off)) for off in EMPTY
                )
                self._entries[file, leaf] = Entry(
                    file,
                    source.line(leaf),
                    shown(leaf),
                    "not_needed" if is_off else account,
                    dict(ours or {}),
                    "off or empty" if is_off else reason,
                )

    def set_default(self, key: str, value: Any, reason: str) -> None:
        """A default of the tool, if no key of the source set the option."""
        if key not in self.spec:
            self.spec[key] = value
            self.defaults.append(Default(key, value, reason))

    def withdraw(self, key: str, reason: str) -> None:
        """Take an option back, with whatever set it: its value cannot be used here."""
        self.spec.pop(key, None)
        self.defaults = [default for default in self.defaults if default.key != key]
        for place, entry in self._entries.items():
            if key in entry.ours:
                rest = {name: value for name, value in entry.ours.items() if name != key}
                if rest:
                    self._entries[place] = replace(entry, account="converted", ours=rest, reason=reason)
                else:
                    self._entries[place] = replace(entry, account="not_taken", ours={}, reason=reason)

    def change(self, key: str, value: Any, reason: str) -> None:
        """Give an option another value, also in the account of what had set it, with the reason."""
        self.spec[key] = value
        self.defaults = [default for default in self.defaults if default.key != key]
        for place, entry in self._entries.items():
            if key in entry.ours:
                self._entries[place] = replace(
                    entry, account="converted", ours={**entry.ours, key: value}, reason=entry.reason or reason
                )

    def leave_rest(self, reason: str) -> None:
        """Whatever no rule took."""
        for file in list(self._sources):
            self.close(file, self.open_places(file), "not_taken", reason)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All accounts in the order of the files."""
        order = {name: number for number, name in enumerate(self._sources)}
        return tuple(sorted(self._entries.values(), key=lambda entry: (order[entry.file], entry.line or 0)))

"""The metadata at the head of a model card: which licence a model has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner_tui import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OR = " or "
_FRONT_MATTER = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)


class CardLicence(NamedTuple):
    """A licence as a card names it."""

    identifier: str | None = None
    """The Hub's identifier; several are joined by " or "."""
    name: str | None = None
    """`license_name`: which licence "other" is, such as llama-4-community."""
    link: str | None = None
    """`license_link`: where its text is."""


def read_licence(card: Path) -> CardLicence:
    """The licence in a README.md. Raises Unreadable."""
    return licence_in(guarded.read_text(card, errors="replace"))


def licence_in(text: str) -> CardLicence:
    """The licence in a card's front matter; empty where there is none, or none that can be read."""
    import yaml

    found = _FRONT_MATTER.match(text)
    try:
        metadata = yaml.load(found[1], Loader=yaml.CBaseLoader) if found else None  # every value stays text
    except (yaml.YAMLError, RecursionError):
        return CardLicence()
    return licence_of_metadata(metadata) if isinstance(metadata, dict) else CardLicence()


def licence_of_metadata(metadata: Mapping[str, Any]) -> CardLicence:
    """The licence in a card's metadata, as a dictionary."""
    named = metadata.get("license")
    names = [_text(each) for each in (named if isinstance(named, list) else [named])]
    return CardLicence(
        OR.join(name for name in names if name) or None,
        _text(metadata.get("license_name")),
        _text(metadata.get("license_link")),
    )


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None

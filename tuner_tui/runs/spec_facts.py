"""What lists show of a run's spec, read without checking the rest of it: quick enough for thousands of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tuner_tui import guarded
from tuner_tui.config.methods.traits import DEFAULT_METHOD
from tuner_tui.config.tunings.traits import DEFAULT_TUNING
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from pathlib import Path


class SpecFacts(NamedTuple):
    """Texts as they stand in the file; empty for what it does not name."""

    model: str = ""
    data: str = ""
    method: str = ""
    tuning: str = ""


def read_spec_facts(path: Path) -> SpecFacts:
    """The facts of a run.toml; empty ones for a file that cannot be read."""
    try:
        content = guarded.read_toml(path)
    except (OSError, Unreadable):
        return SpecFacts()
    return SpecFacts(
        _text(content, "model", "source"),
        _text(content, "data", "train"),
        _text(content, "method", "kind") or DEFAULT_METHOD,
        _text(content, "tuning", "kind") or DEFAULT_TUNING,
    )


def _text(content: dict[str, Any], section: str, key: str) -> str:
    values = content.get(section)
    value = values.get(key) if isinstance(values, dict) else None
    return value if isinstance(value, str) else ""

"""The time that chat templates write: a run's is that of its start, so that resuming on another day changes no row."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tuner_tui.runs.events import WorkerStarted, decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CALL = re.compile(r"strftime_now\s*\(\s*")
_LITERAL = re.compile(r"""(?:'([^'\\]*)'|"([^"\\]*)")\s*\)""")
_fixed: datetime | None = None


def fix(moment: datetime | None) -> None:
    """Have templates write this local time from now on; with None the present one."""
    global _fixed
    _fixed = moment


def fixed() -> datetime | None:
    """What templates write; None where it is the present."""
    return _fixed


def run_began(events: Path) -> datetime | None:
    """The local time when a run's first worker began, by its events; None before that.

    Raises OSError when they cannot be read.
    """
    try:
        with events.open("rb") as file:
            for line in file:
                event = decode(line)
                if isinstance(event, WorkerStarted):
                    return _local_time(event)
    except FileNotFoundError:
        pass
    return None


def _local_time(event: WorkerStarted) -> datetime:
    try:
        return datetime.fromisoformat(event.local_time).replace(tzinfo=None)
    except ValueError:  # a run of an earlier version
        return datetime.fromtimestamp(event.at)


def dates_in(template: Any) -> list[str]:
    """What a template writes of the time, as far as its text says; empty for one that does not ask for it.

    A format that is not a plain text stands for the time to the second.
    """
    moment = _fixed or datetime.now()
    texts = []
    template_text = str(template)
    for call in _CALL.finditer(template_text):
        literal = _LITERAL.match(template_text, call.end())
        texts.append(moment.strftime(literal[1] or literal[2] or "") if literal else moment.isoformat())
    return texts


@contextmanager
def in_transformers() -> Iterator[None]:
    """Have templates that transformers renders itself write the fixed time, too."""
    from transformers.utils import chat_template_utils

    module: Any = chat_template_utils
    if _fixed is None:
        yield
        return
    moment = _fixed

    class Fixed(datetime):
        """A clock that stands still."""

        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment

    before = module.datetime
    module.datetime = Fixed
    try:
        yield
    finally:
        module.datetime = before

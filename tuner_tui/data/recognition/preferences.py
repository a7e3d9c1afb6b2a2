"""Recognising pairs and ranked answers: chosen and rejected, answers with a verdict, and scored lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuner_tui.data.recognition import choices, named_pairs, ranked, swift_pairs

if TYPE_CHECKING:
    from tuner_tui.data.recognition.columns import Columns
    from tuner_tui.data.recognition.layout import Layout


def find(columns: Columns) -> Iterator[Layout]:
    """Every way in which a sample of rows may hold pairs."""
    yield from named_pairs.find(columns)
    yield from swift_pairs.find(columns)
    yield from choices.find(columns)
    yield from ranked.find(columns)

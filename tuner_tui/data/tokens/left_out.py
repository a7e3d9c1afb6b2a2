"""Words for what a chat template leaves out of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner_tui.data.tokens.dropped_parts import Dropped

PARTS_HINT = "Remove it from the rows, or use a model or a data.template that renders it."
FIELDS_HINT = (
    "Training continues without it. Where it matters, use a model or a data.template that renders it, or write it "
    "into the turns."
)


def left_out_words(parts: Iterable[str]) -> str:
    """What the template leaves out of what the rows say."""
    return f"the chat template leaves out {listed([*parts], 'and')}"


def no_place_words(details: Iterable[str]) -> str:
    """What details the template has no place for."""
    return f"the chat template has no place for {listed([*details], 'and')}"


def words_of(dropped: Iterable[Dropped]) -> list[str]:
    """What is left out of one conversation, a sentence each for parts and for details."""
    found = []
    for is_minor, words in ((False, left_out_words), (True, no_place_words)):
        some = [
            part.what if part.place is None else f"{part.what} (turn {part.place + 1})"
            for part in dropped
            if part.is_minor is is_minor
        ]
        if some:
            text = words(some)
            found.append(f"{text[0].upper()}{text[1:]}.")
    return found

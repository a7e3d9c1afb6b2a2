"""Paragraphs of a document as rows of about one length: short ones are joined, long ones are split."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner_tui.data.files.json_rows import Numbered

    Splitter = Callable[[str, int], list[str]]

BYTES_PER_TOKEN = 3
"""Bytes of UTF-8 for each token that a chunk is planned with. English text has about 4, other languages about 3, so
that few chunks are longer than the length limit that they were planned for."""
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")
_WORD = re.compile(r"\s+")


def chunked(rows: Iterator[Numbered], most_bytes: int, separator: str = "\n\n") -> Iterator[Numbered]:
    """Rows of text with at most `most_bytes` bytes of UTF-8 each, under the number of the first paragraph in them.

    A paragraph is split only where it alone is too long: between sentences, else words, else characters. Rows that
    cannot be read are passed on in their place.
    """
    held: list[str] = []
    begin = held_bytes = 0
    for number, row in rows:
        if isinstance(row, InputError):
            if held:
                yield begin, {"text": separator.join(held)}
                held, held_bytes = [], 0
            yield number, row
            continue
        for part in split_text(str(row["text"]), most_bytes):
            size = len(part.encode("utf-8", "replace"))
            if held and held_bytes + len(separator) + size > most_bytes:
                yield begin, {"text": separator.join(held)}
                held, held_bytes = [], 0
            if not held:
                begin = number
            held_bytes += size + (len(separator) if held else 0)
            held.append(part)
    if held:
        yield begin, {"text": separator.join(held)}


def split_text(text: str, most_bytes: int) -> list[str]:
    """The text in parts of at most `most_bytes` bytes: whole, else by sentences, else by words, else by characters."""
    if len(text.encode("utf-8", "replace")) <= most_bytes:
        return [text]
    return _filled(_SENTENCE.split(text), most_bytes, _by_words)


def _by_words(sentence: str, most_bytes: int) -> list[str]:
    return _filled(_WORD.split(sentence), most_bytes, _by_characters)


def _by_characters(word: str, most_bytes: int) -> list[str]:
    parts, start, size = [], 0, 0
    for index, character in enumerate(word):
        width = len(character.encode("utf-8", "replace"))
        if size + width > most_bytes:
            parts.append(word[start:index])
            start, size = index, 0
        size += width
    return [*parts, word[start:]]


def _filled(pieces: list[str], most_bytes: int, finer: Splitter) -> list[str]:
    """Pieces joined by blanks as far as they fit; a piece that is too long alone is split more finely."""
    parts: list[str] = []
    held: list[str] = []
    held_bytes = 0
    for piece in filter(None, pieces):
        size = len(piece.encode("utf-8", "replace"))
        if held and held_bytes + 1 + size > most_bytes:
            parts.append(" ".join(held))
            held, held_bytes = [], 0
        if size > most_bytes:
            parts += finer(piece, most_bytes)
            continue
        held_bytes += size + bool(held)
        held.append(piece)
    return [*parts, " ".join(held)] if held else parts

"""Rows of a PDF file: its paragraphs as plain text, read in a limited child since PDF files are untrusted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.data.files.formats import WITHOUT_TEXT
from tuner_tui.data.files.opened import LARGEST_ROW_BYTES, require_plausible, too_large
from tuner_tui.data.files.pdf_child import ReadPdf
from tuner_tui.errors import InputError
from tuner_tui.limited.process import Crashed, LimitedProcess
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner_tui.data.files.json_rows import Numbered

SHORT_LINE = 0.75
"""A line that ends a sentence and is shorter than this share of the page's longest one ends a paragraph."""
_ENDS = re.compile(r"[.!?:\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
_PAGE_NUMBER = re.compile(r"\d{1,4}")
_HYPHEN = re.compile(r"\w[-\u00ad\u2010]$")


def read_pdf(path: Path, not_read: dict[str, str] | None = None) -> Iterator[Numbered]:
    """Each paragraph as `text` under its number, from 1. `not_read` gets the pages that have no text.

    Raises InputError for a file that is damaged or encrypted, that has no text at all, or whose text is far larger than
    the file.
    """
    number = read_bytes = pages = silent = 0
    held = ""
    """A paragraph that continues on the next page."""
    for page in _pages(path):
        pages += 1
        read_bytes += len(page.encode("utf-8", "replace"))
        require_plausible(path, path.stat().st_size, read_bytes)
        paragraphs = paragraphs_of(page)
        silent += not paragraphs
        if held and paragraphs:
            paragraphs[0] = _joined(held, paragraphs[0])
        held = ""
        if paragraphs and not _ENDS.search(paragraphs[-1]):
            held = paragraphs.pop()
        if len(held) > LARGEST_ROW_BYTES:
            raise too_large(path, number + 1)
        for paragraph in paragraphs:
            number += 1
            yield number, {"text": paragraph}
    if held:
        yield number + 1, {"text": held}
    elif not number:
        raise InputError(
            "The PDF file has no text",
            f"{path}: {counted(pages, 'page')}, and none has text; they may be scanned pictures.",
            "Recognise its text first (OCR), for example with ocrmypdf, and name the file that this writes.",
        )
    if silent and not_read is not None:
        not_read[f"{path.name}: {WITHOUT_TEXT}"] = f"{silent} of {counted(pages, 'page')}"


def _pages(path: Path) -> Iterator[str]:
    with LimitedProcess("tuner_tui.data.files.pdf_child", str(path)) as child:
        try:
            for data in child.ask(msgspec.msgpack.encode(ReadPdf(str(path)))):
                yield msgspec.msgpack.decode(data, type=str)
        except Crashed as error:
            raise InputError(
                "The PDF file cannot be read",
                f"{path}: {error.reason}",
                "It is damaged or truncated; fetch it again, or save its text as a .txt file.",
            ) from error


def paragraphs_of(page: str) -> list[str]:
    """The paragraphs of a page's text, each on one line, without a page number that stands alone at its edge.

    A PDF file has lines, not paragraphs: one ends at a blank line, and at a line that ends a sentence and is clearly
    shorter than the longest one. Words that are hyphenated at a line's end are joined.
    """
    lines = [" ".join(line.split()) for line in page.splitlines()]
    while lines and (not lines[0] or _PAGE_NUMBER.fullmatch(lines[0])):
        del lines[0]
    while lines and (not lines[-1] or _PAGE_NUMBER.fullmatch(lines[-1])):
        del lines[-1]
    longest = max(map(len, lines), default=0)
    paragraphs: list[str] = []
    current = ""
    for line in lines:
        current = _joined(current, line) if line else current
        if current and (not line or (_ENDS.search(line) and len(line) < SHORT_LINE * longest)):
            paragraphs.append(current)
            current = ""
    return [*paragraphs, current] if current else paragraphs


def _joined(before: str, after: str) -> str:
    """Two lines of one paragraph; a word that a hyphen divides is made whole."""
    if not before:
        return after
    if _HYPHEN.search(before) and after[:1].islower():
        return before[:-1] + after
    return f"{before} {after}"

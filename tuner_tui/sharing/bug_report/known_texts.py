"""Shows of a text only what stands in source code; what was filled in is left out, short numbers apart.

A message such as `rows.jsonl, line 7: the answer "..." is empty` comes from an f-string of this package, so that its
fixed words are public. They are recognised by the strings of the source files; every other part becomes `[…]`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HIDDEN = "[…]"
PACKAGE = Path(__file__).resolve().parents[2]
FEWEST_LETTERS, FEWEST_IN_LINE = 3, 10
"""Fewest fixed letters of a text that has filled-in parts, and of a line of a log; with less, anything would match."""
LONGEST_TEXT = 2000
"""Characters of a text that are looked at."""
LARGEST_SOURCE = 1 << 20
NUMBER = re.compile(
    r"[-+]?\d{1,6}(?:[.,]\d{1,6})?(?:e[-+]?\d{1,3})?(?:%| ?(?:bytes|[KMGT]i?B|s|min|h|tokens|rows|steps|characters))?"
)
"""A number that may leave: an amount, too short for a card, an account or a telephone."""
PLACEHOLDER = re.compile(r"\{[^{}]*\}|%(?:\(\w+\))?[-+#0-9.]*[sdrfgi]")
SENTENCE = re.compile(r"(?<=[.!?;:])\s+")
PUNCTUATION = " .,:;!?"
COMPILED_MESSAGES = (
    "CUDA out of memory. Tried to allocate {}. GPU {} has a total capacity of {} of which {} is free. {}",
    "CUDA out of memory. {}",
    "CUDA error: {}",
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: out of memory",
    "{}DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes. Error code {}",
    "mat1 and mat2 shapes cannot be multiplied ({}x{} and {}x{})",
    "mat1 and mat2 must have the same dtype, but got {} and {}",
    "expected scalar type {} but found {}",
    "The size of tensor a ({}) must match the size of tensor b ({}) at non-singleton dimension {}",
    "element 0 of tensors does not require grad and does not have a grad_fn",
    "Expected all tensors to be on the same device, but found at least two devices, {} and {}!",
    "[Errno {}] No space left on device{}",
    "[Errno {}] Permission denied{}",
    "[Errno {}] No such file or directory{}",
    "[Errno {}] Cannot allocate memory{}",
    "Fatal Python error: Segmentation fault",
    "Fatal Python error: Aborted",
    "No module named {}",
)
"""Messages of compiled libraries, whose sources are not installed with them."""


@dataclass(frozen=True)
class Template:
    """The fixed parts of a text in their order; between them something was filled in, also before a first empty one."""

    parts: tuple[str, ...]

    def filled_in(self, text: str) -> list[str] | None:
        """What a text has in place of the gaps; None when it is no such text."""
        first, *middle, last = self.parts
        if len(text) < sum(map(len, self.parts)) or not text.startswith(first) or not text.endswith(last):
            return None
        values, place, end = [], len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, place, end)
            if at < 0:
                return None
            values.append(text[place:at])
            place = at + len(part)
        return None if place > end else [*values, text[place:end]]


class KnownTexts:
    """The strings of some source files."""

    def __init__(self, sources: Iterable[Path], messages: Iterable[str] = ()) -> None:
        constants: set[str] = set()
        templates: set[tuple[str, ...]] = set()
        self.classes: set[str] = set()
        """The names of the classes that the files define."""
        for source in sources:
            for node in _nodes(source):
                if isinstance(node, ast.ClassDef):
                    self.classes.add(node.name)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    constants.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    templates.add(_parts_of(node))
        for text in (*messages, *constants):
            if len(text) < LONGEST_TEXT and PLACEHOLDER.search(text):
                templates.add(tuple(PLACEHOLDER.split(text)))
        self._remembered: dict[str, str | None] = {}
        self._words = constants | {text.strip(PUNCTUATION) for text in (*constants, *messages)} - {""}
        self._templates = sorted(
            (Template(parts) for parts in templates if _letters(parts) >= FEWEST_LETTERS),
            key=lambda template: -_letters(template.parts),
        )

    def is_word(self, text: str) -> bool:
        """Whether a text as a whole is a string of the source, such as the value of an option."""
        return text in self._words

    def shown(self, text: str) -> str:
        """A text, of which all that does not stand in the source is `[…]`; lines stay lines."""
        lines = [self._line(line) for line in text[:LONGEST_TEXT].splitlines()]
        return "\n".join(lines)

    def knows(self, line: str) -> bool:
        """Whether a whole line is a text of the source, with enough fixed words to tell it."""
        known = self._known(line)
        return known is not None and sum(map(str.isalpha, known.replace(HIDDEN, ""))) >= FEWEST_IN_LINE

    def _line(self, line: str) -> str:
        if not line.strip():
            return ""
        known = self._known(line)
        if known is not None:
            return known
        sentences = [self._known(part) or HIDDEN for part in SENTENCE.split(line.strip())]
        words = [
            text for at, text in enumerate(sentences) if text != HIDDEN or sentences[at - 1 : at] != [HIDDEN]
        ]
        return " ".join(words)

    def _known(self, text: str) -> str | None:
        """The text with what was filled in hidden; None for an unknown one. Logs repeat themselves: remembered."""
        if text not in self._remembered:
            self._remembered[text] = self._matched(text)
        return self._remembered[text]

    def _matched(self, text: str) -> str | None:
        if text.strip(PUNCTUATION) in self._words:
            return text
        for template in self._templates:
            values = template.filled_in(text)
            if values is not None:
                filled = [*map(self._value, values), ""]
                return "".join(part + value for part, value in zip(template.parts, filled, strict=True))
        return None

    def _value(self, value: str) -> str:
        if not value or NUMBER.fullmatch(value) or (value in self._words and len(value) > 1):
            return value
        return HIDDEN


@cache
def own_texts() -> KnownTexts:
    """The strings of this package, and messages of compiled libraries."""
    return KnownTexts(sorted(PACKAGE.rglob("*.py")), COMPILED_MESSAGES)


@cache
def texts_of(source: Path) -> KnownTexts:
    """The strings of one source file of a library."""
    return KnownTexts((source,))


def _nodes(source: Path) -> Iterator[ast.AST]:
    try:
        tree = ast.parse(guarded.read_text(source, LARGEST_SOURCE, errors="replace"))
    except (Unreadable, SyntaxError, ValueError, RecursionError, MemoryError):
        return iter(())
    return ast.walk(tree)


def _parts_of(text: ast.JoinedStr) -> tuple[str, ...]:
    """The fixed parts of an f-string; between two of them is a gap, of which neighbours are one."""
    parts = [""]
    is_gap = False
    for value in text.values:
        if isinstance(value, ast.Constant):
            parts[-1] += str(value.value)
            is_gap = False
        elif not is_gap:
            parts.append("")
            is_gap = True
    return tuple(parts)


def _letters(parts: tuple[str, ...]) -> int:
    return sum(map(str.isalpha, "".join(parts))) if len(parts) > 1 else 0

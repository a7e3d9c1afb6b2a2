"""The line on which each key of a TOML text stands."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|[^,\]}#\n]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key and table of valid TOML first stands; what is not understood is left out."""
    return _LineFinder(text).lines()


class _LineFinder:
    """Walks over valid TOML; every step moves `_at` on, and a step that does not fit ends the walk."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[tuple[str, ...], int] = {}

    def lines(self) -> dict[tuple[str, ...], int]:
        table: tuple[str, ...] = ()
        try:
            while self._skip(_GAP) < len(self._text):
                if self._text[self._at] == "[":
                    self._at += 2 if self._text.startswith("[[", self._at) else 1
                    table = self._key(())
                    self._at = self._text.index("]", self._at)
                    self._at += 2 if self._text.startswith("]]", self._at) else 1
                else:
                    self._pair(table)
        except (ValueError, IndexError, RecursionError):
            pass
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> int:
        if (match := pattern.match(self._text, self._at)) is None:
            raise ValueError
        self._at = match.end()
        return self._at

    def _key(self, table: tuple[str, ...]) -> tuple[str, ...]:
        path = table
        while True:
            start = self._skip(_SPACE)
            part = self._text[start : self._skip(_KEY)]
            path = (*path, next(iter(tomllib.loads(f"{part} = 0"))))
            self._lines.setdefault(path, bisect_right(self._breaks, start) + 1)
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1

    def _pair(self, table: tuple[str, ...]) -> None:
        path = self._key(table)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _value(self, path: tuple[str, ...]) -> None:
        self._skip(_SPACE)
        opening = self._text[self._at]
        if opening not in "[{":
            self._skip(_SCALAR)
            return
        self._at += 1
        closing = "]" if opening == "[" else "}"
        while self._text[self._skip(_GAP)] != closing:
            if opening == "[":
                self._value((*path, "[]"))
            else:
                self._pair(path)
        self._at += 1


def line_of(lines: dict[tuple[str, ...], int], path: tuple[str, ...]) -> int | None:
    """The line of a key, or of the table that lacks it."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)

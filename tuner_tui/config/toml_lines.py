"""Finds the line of each key of a TOML text, and explains TOML errors."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_NAMED = re.compile(r"[ \t]*([A-Za-z0-9_.-]+)[ \t]*=")
_HEADER = re.compile(r"[ \t]*\[[ \t]*([A-Za-z0-9_.-]+)[ \t]*\]")
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|[^,\]}#\n]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The first line of each key and table of valid TOML; what is not understood is omitted."""
    return _LineFinder(text).lines()


class _LineFinder:
    """Scans valid TOML; each step advances `_at`, and one that does not match ends the scan."""

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


TOML_WORDS = (
    ("Invalid statement", 'expected "key = value", a [table] or a # comment'),
    ("Expected newline", "there is text after the value; put each key on its own line"),
    ("Expected '=' after", 'a key is followed by "= value"'),
    ("Invalid value", "not a value: put text in quotes; true and false are lower case"),
    ("Unterminated string", "the closing quote is missing"),
    ("Illegal character", "the closing quote is missing, or there is a control character in the text"),
    ("Found invalid character", "an invalid control character or line break"),
    ("Cannot overwrite", "this key is defined twice"),
    ("Duplicate inline", "this key is defined twice"),
    ("Cannot declare", "this table is defined twice"),
    ("Cannot", "this table is already defined in another way"),
    ("Expected ']", "the closing bracket of the table's name is missing"),
    ("Unclosed array", "the closing ] of the list is missing, or a comma between its items"),
    ("Unclosed inline", "the closing } of the table is missing, or a comma between its keys"),
    ("Unescaped", "a backslash is doubled in \"text\", or put the text in 'single quotes'"),
    ("Invalid hex", "a \\u escape needs four hexadecimal digits, \\U eight"),
    ("Escaped character", "invalid escape sequence"),
    ("Invalid date", "invalid date; put text in quotes"),
    ("Invalid initial", "a key has letters, digits, _ and - only"),
    ("Expected", "the closing quote is missing"),
)
"""Starts of tomllib's messages, and our explanations."""


def toml_problem(text: str, error: ValueError | RecursionError) -> tuple[int | None, str]:
    """The line of a TOML error, and its explanation."""
    if isinstance(error, RecursionError):
        return None, "lists or tables are nested too deeply"
    if not isinstance(error, tomllib.TOMLDecodeError):
        return None, "has a number with too many digits"
    message = str(error)
    words = next(
        (explanation for start, explanation in TOML_WORDS if message.startswith(start)), "this is not TOML"
    )
    place = re.search(r"\(at line (\d+), column (\d+)\)$", message)
    if place is None:
        return text.rstrip().count("\n") + 1, f"at the end of the file: {words}"
    return int(place[1]), f"column {place[2]}: {words}"


def key_on(text: str, line: int | None) -> str:
    """The key that a line of TOML sets, with its table's name; empty if none."""
    lines = text.splitlines()
    if line is None or not 0 < line <= len(lines):
        return ""
    key = _NAMED.match(lines[line - 1])
    if key is None:
        return ""
    headers = (_HEADER.match(text_line) for text_line in reversed(lines[: line - 1]))
    table = next((header[1] for header in headers if header), "")
    return f"{table}.{key[1]}" if table else key[1]

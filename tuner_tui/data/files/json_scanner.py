"""Reading JSON values off a stream, one after the other, whatever the size of the file."""

from __future__ import annotations

import codecs
import json
import re
from typing import IO, TYPE_CHECKING, Any

from tuner_tui.data.files.opened import LARGEST_ROW_BYTES, not_utf8, too_large
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

CHUNK_CHARACTERS = 1 << 18
_SPACE = re.compile(r"\s*")


class Scanner:
    """Reads JSON values off a stream, holding little more than the value it is at."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.path = path
        self.line = 1
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._is_at_end = False
        self._decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            end = match.end() if match else self._at
            self._move(end)
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def take(self, expected: str) -> None:
        """Pass over one character. Raises InputError when another one, or none, stands there."""
        found = self.peek()
        if found != expected:
            problem_text = "the file ends" if not found else f"found {found!r}"
            hint = "The file may be truncated." if not found else "Fix the file at this line."
            raise InputError(
                "The JSON is invalid",
                f"{self.path}:{self.line}: expected {expected!r}, {problem_text}.",
                hint,
            )
        self._move(self._at + 1)

    def require_end(self) -> None:
        """Raises InputError where more follows than spaces."""
        if found := self.peek():
            raise InputError(
                "There is extra data after the rows",
                f"{self.path}:{self.line}: found {found!r} where the file should end.",
                "Write one array of objects, or one object per line (JSONL).",
            )

    def rest_of_array(self) -> None:
        """Pass over the rest of an array that was opened. Raises InputError."""
        while self.peek() != "]":
            self.value(0)
            if self.peek() != "]":
                self.take(",")
        self.take("]")

    def value(self, number: int) -> Any:
        """The value that begins here. Raises InputError."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError as error:
                raise InputError(
                    "A row is nested too deeply", f"{self.path}:{self.line} (row {number})."
                ) from error
            except ValueError as error:
                if self._is_hopeless(error) or not self._more():
                    raise self._broken(error, number) from error
                continue
            if end == len(self._text) and isinstance(value, int | float) and self._more():
                continue  # more digits may follow
            begin = self._at
            if end - begin > LARGEST_ROW_BYTES:
                raise too_large(self.path, self.line)
            self._require_whole_characters(value, self._text[begin:end], number)
            self._move(end)
            return value

    def _require_whole_characters(self, value: Any, text: str, number: int) -> None:
        """Python's decoder lets a half of a surrogate pair pass, which no tokenizer takes."""
        if "\\ud" not in text and "\\uD" not in text:
            return
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "A character is invalid", f"{self.path}:{self.line} (row {number}): half of a surrogate pair."
            ) from error

    def _is_hopeless(self, error: ValueError) -> bool:
        """Whether more text cannot help: the mistake lies well before the end of what was read."""
        if not isinstance(error, json.JSONDecodeError):
            return True
        return error.pos < len(self._text) - 64 and not error.msg.startswith("Unterminated string")

    def _broken(self, error: ValueError, number: int) -> InputError:
        line, problem_text = self.line, str(error)
        if isinstance(error, json.JSONDecodeError):
            line += self._text.count("\n", self._at, error.pos)
            problem_text = error.msg
        row = f" (row {number})" if number else ""
        hint = "The file is truncated." if self._is_at_end else "Fix the file at this line."
        return InputError("The JSON is invalid", f"{self.path}:{line}{row}: {problem_text}.", hint)

    def _more(self) -> bool:
        """Read on, at least doubling what is held of an unfinished value; False at the file's end."""
        if self._is_at_end:
            return False
        held = self._text[self._at :]
        if len(held) > LARGEST_ROW_BYTES:
            raise too_large(self.path, self.line)
        data = self._file.read(max(CHUNK_CHARACTERS, len(held)))
        self._is_at_end = not data
        try:
            self._text = held + self._utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise not_utf8(self.path, self.line, data) from error
        self._at = 0
        return bool(data)

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")

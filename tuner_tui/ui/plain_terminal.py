"""Terminals without UTF-8 or without braille: which they are, and plain characters in place of drawn ones."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual.filter import LineFilter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.color import Color

PLAIN_VARIABLE = "TUNER_TUI_PLAIN"
"""Set to 1, it asks for plain characters whatever the terminal says."""

LOOKALIKES = (
    ("─╌┄▔▃▀╺", "-"),
    ("━═╸▄", "="),
    ("▁", "_"),
    ("▂", "."),
    ("▅", "+"),
    ("▆", "*"),
    ("▇", "#"),
    ("│┃║▎▏▊▌▐▕", "|"),
    ("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝┍┑┕┙", "+"),
    ("█▉▓", "#"),
    ("▒░", "."),
    ("▸▶❯›→", ">"),  # noqa: RUF001
    ("◂◀‹←", "<"),  # noqa: RUF001
    ("↑", "^"),
    ("↓", "v"),
    ("·•…⠀", "."),
    ("●◉■", "*"),
    ("‖", "="),
    ("○□", "o"),
    ("✓", "+"),
    ("×✗", "x"),  # noqa: RUF001
    ("–—", "-"),  # noqa: RUF001
    ("‘’", "'"),  # noqa: RUF001
    ("“”", '"'),
    ("⏎", "="),
)
_TABLE = {ord(drawn): plain for many, plain in LOOKALIKES for drawn in many}


def speaks_utf8(environment: Mapping[str, str]) -> bool:
    """Whether the terminal takes UTF-8, by its locale; where none is named, as in a container, it does."""
    if environment.get(PLAIN_VARIABLE, "0") not in ("", "0"):
        return False
    named = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    return not named or "utf" in named.lower()


def draws_braille(environment: Mapping[str, str]) -> bool:
    """Whether the terminal's letters have braille; those of the Linux console do not."""
    return speaks_utf8(environment) and environment.get("TERM") not in ("linux", "vt100", "vt220")


class PlainFilter(LineFilter):
    """Puts a plain character in the place of each one that the terminal cannot show."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment(plain_characters(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def plain_characters(text: str) -> str:
    """The text in ASCII, as wide as it was: look-alikes, letters without their accents, else question marks."""
    return "".join(map(_plain_character, text.translate(_TABLE)))


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if "\u2800" <= character <= "\u28ff":  # braille: a dot high or low
        return "'" if (ord(character) & 0xFF) in (1, 2, 3, 8, 16, 24, 9, 27) else "."
    letter = unicodedata.normalize("NFKD", character)[0]
    return letter if letter.isascii() and letter.isprintable() else "?" * cell_len(character)

"""Terminals without UTF-8 or braille: detection, and plain replacement characters."""

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
"""Set to 1, it forces plain characters."""

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
    """Whether the terminal supports UTF-8, by its locale; without one, as in a container, it does."""
    if environment.get(PLAIN_VARIABLE, "0") not in ("", "0"):
        return False
    named = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    return not named or "utf" in named.lower()


def draws_braille(environment: Mapping[str, str]) -> bool:
    """Whether the terminal's font has braille; the Linux console's does not."""
    return speaks_utf8(environment) and environment.get("TERM") not in ("linux", "vt100", "vt220")


class PlainFilter(LineFilter):
    """Replaces each character that the terminal cannot show by a plain one."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment(plain_characters(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def plain_characters(text: str) -> str:
    """The text in ASCII at the same width: look-alikes, letters without accents, else question marks."""
    return "".join(map(_plain_character, text.translate(_TABLE)))


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if "\u2800" <= character <= "\u28ff":  # braille: an upper or a lower dot
        return "'" if (ord(character) & 0xFF) in (1, 2, 3, 8, 16, 24, 9, 27) else "."
    letter = unicodedata.normalize("NFKD", character)[0]
    return letter if letter.isascii() and letter.isprintable() else "?" * cell_len(character)

"""What every headless command prints with: text made literal, and errors in one form."""

from __future__ import annotations

import re
import textwrap

import click

from tuner_tui.errors import TunerError

WIDTH = 80

# Control characters (C0, DEL, C1), direction marks and overrides, line separators, halves of characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain(text: str) -> str:
    """One line of literal text: control characters (line breaks too) become visible escapes such as \\x1b."""
    return _UNPRINTABLE.sub(_escaped, text)


def plain_lines(text: str) -> str:
    """Literal text of several lines: only its line breaks stay, and tabs become spaces."""
    return "\n".join(plain(line) for line in text.replace("\r\n", "\n").expandtabs(4).split("\n"))


def fill(text: str, indent: str = "", hanging: str = "") -> str:
    """Literal text wrapped to a small terminal's width; longer words, such as paths, stay whole."""
    return textwrap.fill(
        plain(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def fail(error: TunerError) -> None:
    """Print an error to stderr: its title, its message, and what to do next."""
    lines = [fill(f"Error: {error.title}", hanging="  ")]
    for line in error.message.splitlines():
        indent = " " * (len(line) - len(line.lstrip(" ")))
        lines.append(fill(line.strip(), f"  {indent}", "  "))
    if error.hint:
        lines.append(fill(f"Next: {error.hint}", "  ", "  "))
    click.echo("\n".join(lines), err=True)

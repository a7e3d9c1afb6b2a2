"""Output of headless commands: literal text, and errors in one form."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from tuner_tui.errors import TunerError
from tuner_tui.text import next_step, plain, plain_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WIDTH", "fail", "fill", "plain", "plain_lines", "tell_left_out"]

WIDTH = 80


def fill(text: str, indent: str = "", hanging: str = "") -> str:
    """Literal text wrapped to a small terminal's width; longer words, such as paths, are not broken."""
    return textwrap.fill(
        plain(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def fail(error: TunerError) -> None:
    """Print an error to stderr: title, message and next step."""
    lines = [fill(f"Error: {error.title}", hanging="  ")]
    for line in error.message.splitlines():
        indent = " " * (len(line) - len(line.lstrip(" ")))
        lines.append(fill(line.strip(), f"  {indent}", "  "))
    if error.hint:
        first, *commands = error.hint.splitlines()
        lines.append(fill(next_step(first), "  ", "  "))
        lines += [f"  {plain(command)}" for command in commands]  # whole, to be copied
    click.echo("\n".join(lines), err=True)


def tell_left_out(lines: Iterable[str]) -> None:
    """Lines about what cannot be read and is left out, on stderr; each row's own line stays one line."""
    for line in lines:
        click.echo(line if line.startswith(" ") else fill(line), err=True)

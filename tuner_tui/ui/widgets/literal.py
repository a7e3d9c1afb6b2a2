"""Text from models, data, logs and names, shown literally: never markup, an escape sequence or a link."""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.widgets import Static

from tuner_tui.runs.run_names import two_words
from tuner_tui.text import SHORTENED, plain, plain_lines

_DATED = re.compile(r"\d{4}-\d\d-\d\d-.")


def literal(text: str, style: str = "") -> Content:
    """One line of text as it is; control characters become visible escapes."""
    return Content.styled(plain(text), style) if style else Content(plain(text))


def literal_lines(text: str, style: str = "") -> Content:
    """Text of several lines as it is; only its line breaks stay."""
    return Content.styled(plain_lines(text), style) if style else Content(plain_lines(text))


def fit(text: str, width: int) -> str:
    """Literal text in exactly `width` cells: padded, or truncated with an ellipsis."""
    shown = plain(text)
    length = cell_len(shown)
    if length <= width:
        return shown + " " * (width - length)
    return set_cell_size(shown, width - 1) + "…" if width > 0 else ""


def fit_name(name: str, width: int) -> str:
    """A run's name in exactly `width` cells: shortened in the middle, because its end is distinctive."""
    shown = plain(name)
    length = cell_len(shown)
    if length <= width or width < 12:
        return fit(name, width)
    if _DATED.match(shown):  # the date is shown elsewhere, and takes the most space
        return fit_name(shown[11:], width)
    words = two_words(shown)
    tail = f"-{words}" if words and cell_len(words) <= width - 4 else shown[-5:]
    return set_cell_size(shown, width - 1 - cell_len(tail)) + SHORTENED + tail


def show(widget: Static, content: Content) -> None:
    """Update a widget only if its content changed: each update causes a layout of the whole screen."""
    shown = widget.content
    if not (isinstance(shown, Content) and shown.is_same(content)):
        widget.update(content)

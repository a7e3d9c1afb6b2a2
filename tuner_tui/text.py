"""Text for display: escaping of foreign text, and formatting of numbers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

# Control characters (C0, DEL, C1), direction marks and overrides, line separators, zero-width spaces (not the joiners,
# which emoji and several scripts need), halves of characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b\u2060-\u2064\ufeff\ud800-\udfff]"
)

_LEADS = {
    "See: ": "",
    "See all: ": "",
    "For example: ": "for example ",
    "For example ": "for example ",
    "Available: ": "use one of ",
    "There are: ": "use one of ",
}
"""How hints begin that name a command or an example, and how they do behind `Next:`."""

_MARKDOWN = re.compile(r"[\\`|<\[\]]")

SHORTENED = "…"
"""Stands for what was left out of a text."""

PHASES = {
    "loading": "loading",
    "preparing": "preparing data",
    "training": "training",
    "evaluating": "evaluating",
    "sampling": "sampling",
    "saving": "saving",
}
"""Display texts of a run's phases."""


_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _SHORT:
        return _SHORT[match[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain(text: str) -> str:
    """One line of literal text: control characters (line breaks too) become visible escapes such as \\x1b."""
    return _UNPRINTABLE.sub(_escaped, text)


def utf8(text: str) -> str:
    """A file's name or path as text that JSON can hold: bytes that are not UTF-8 become escapes such as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def plain_lines(text: str) -> str:
    """Literal text of several lines: only its line breaks stay, and tabs become spaces."""
    return "\n".join(plain(line) for line in text.replace("\r\n", "\n").expandtabs(4).split("\n"))


def shortened_line(text: str, longest: int) -> str:
    """One line of literal text of at most `longest` characters."""
    line = plain(text)
    return line if len(line) <= longest else line[: longest - 1] + SHORTENED


def quoted(word: str) -> str:
    """A word quoted for bash and zsh, always on one line: control characters become escapes in $'...'."""
    if not _UNPRINTABLE.search(word):
        return shlex.quote(word)
    escaped = word.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + _UNPRINTABLE.sub(_as_bytes, escaped) + "'"


def shell_line(words: Iterable[str]) -> str:
    """Words as one shell command that can be copied, whatever characters they have."""
    return " ".join(map(quoted, words))


def shell_command(words: str, *names: str, options: Iterable[str] = ()) -> str:
    """One of our commands to copy: its words, quoted names, and options; a name may begin with a dash."""
    begin = ["tuner-tui", *words.split()]
    if any(name.startswith("-") for name in names):
        return shell_line([*begin, *options, "--", *names])
    return shell_line([*begin, *names, *options])


def _as_bytes(match: re.Match[str]) -> str:
    is_byte = "\udc80" <= match[0] <= "\udcff"  # of a file name that is not UTF-8
    data = match[0].encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def markdown(text: str) -> str:
    """One line of literal text for Markdown: escaped, so that it makes no links, images, HTML or table cells."""
    return _MARKDOWN.sub(r"\\\g<0>", plain(" ".join(text.split())))


def next_step(hint: str) -> str:
    """A hint as the next step: `Next: ` and what to do, without a second lead such as `See:`."""
    for lead, words in _LEADS.items():
        if hint.startswith(lead):
            return f"Next: {words}{hint.removeprefix(lead)}"
    return f"Next: {hint}"


def duration(seconds: float | None) -> str:
    """For example 45 s, 12 min 5 s or 3 h 20 min."""
    if seconds is None:
        return "unknown"
    rounded = max(0, round(seconds))
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def duration_range(low: float, high: float) -> str:
    """Two durations as one rough range, such as 9 to 90 days, or 20 min to 3 h: two digits at most."""
    units = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
    parts = []
    for seconds in (low, max(low, high)):
        unit, length = next((each for each in units if seconds >= 2 * each[1]), units[-1])
        value = seconds / length
        places = min(0, 2 - len(str(int(value))))
        parts.append((f"{max(1, round(value, places)):,.0f}", unit))
    (first, unit), (second, other) = parts
    if parts[0] == parts[1]:
        return f"about {first} {unit}"
    return f"{first} to {second} {unit}" if unit == other else f"{first} {unit} to {second} {other}"


def column(words: str, width: int) -> str:
    """Words padded to a width, with a gap of at least two blanks before what follows."""
    return f"{words:<{max(0, width - 2)}}  "


def size(count: int | None) -> str:
    """Bytes in decimal units, such as 19.6 MB."""
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def number(value: float | None, digits: int = 4) -> str:
    """A number as text; "not finite" for None."""
    return "not finite" if value is None else f"{value:.{digits}g}"


def listed(words: Sequence[str], joint: str = "and") -> str:
    """For example "sft", "dpo and cpo" or "dpo, cpo and orpo"."""
    return f" {joint} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def count(value: int) -> str:
    """For example 4.9 million."""
    for unit, scale in (("billion", 10**9), ("million", 10**6)):
        if value >= scale:
            return f"{value / scale:.1f} {unit}"
    return f"{value:,}"


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun, such as "1 row" or "1,204 rows"; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"

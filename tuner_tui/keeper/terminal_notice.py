"""What makes a terminal ring, or show a notification of its own, also through SSH and tmux."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.config.settings import Settings

BELL = "\a"
MOST_CHARACTERS = 200
Way = Literal["osc9", "osc777"]

KNOWN_TERMS: tuple[tuple[str, Way], ...] = (
    ("xterm-kitty", "osc9"),
    ("xterm-ghostty", "osc9"),
    ("wezterm", "osc9"),
    ("foot", "osc777"),
    ("rxvt", "osc777"),
)
"""By how $TERM begins, which SSH hands on."""
KNOWN_PROGRAMS: dict[str, Way] = {"iTerm.app": "osc9", "iTerm2": "osc9", "WezTerm": "osc9", "ghostty": "osc9"}
"""By $TERM_PROGRAM, or by $LC_TERMINAL, which SSH may hand on."""


def terminal_notice(title: str, body: str, settings: Settings, environment: Mapping[str, str]) -> str:
    """What to write to the terminal; empty when nothing was asked for."""
    bell = BELL if settings.switch("notify.bell") else ""
    chosen = settings.text("notify.terminal")
    way = known_way(environment) if chosen == "auto" else chosen
    text = f"tuner-tui: {plain(title)}"[:MOST_CHARACTERS]
    match way:
        case "osc9":  # a text that began with a digit and a semicolon would be a command to some
            sequence = f"\x1b]9;{text}. {plain(body)[:MOST_CHARACTERS]}\a"
        case "osc777":
            sequence = f"\x1b]777;notify;{text.replace(';', ',')};{plain(body)[:MOST_CHARACTERS]}\a"
        case _:
            return bell
    if environment.get("TMUX"):
        sequence = f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\"
    return bell + sequence


def known_way(environment: Mapping[str, str]) -> Way | None:
    """What this terminal is known to take; inside tmux its own name is all there is, unless the shell says more."""
    for name in ("TERM_PROGRAM", "LC_TERMINAL"):
        if way := KNOWN_PROGRAMS.get(environment.get(name, "")):
            return way
    term = environment.get("TERM", "")
    return next((way for start, way in KNOWN_TERMS if term.startswith(start)), None)

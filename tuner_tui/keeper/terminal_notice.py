"""Terminal notifications: escape sequences for a bell or a notification, also through SSH and tmux."""

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
"""By the start of $TERM, which SSH passes on."""
KNOWN_PROGRAMS: dict[str, Way] = {"iTerm.app": "osc9", "iTerm2": "osc9", "WezTerm": "osc9", "ghostty": "osc9"}
"""By $TERM_PROGRAM, or by $LC_TERMINAL, which SSH may pass on."""


def terminal_notice(title: str, body: str, settings: Settings, environment: Mapping[str, str]) -> str:
    """The escape sequence to write to the terminal; empty if notifications are off."""
    bell = BELL if settings.switch("notify.bell") else ""
    chosen = settings.text("notify.terminal")
    protocol = known_way(environment) if chosen == "auto" else chosen
    text = f"tuner-tui: {plain(title)}"[:MOST_CHARACTERS]
    match protocol:
        case "osc9":  # some terminals treat a text that begins with a digit and a semicolon as a command
            sequence = f"\x1b]9;{text}. {plain(body)[:MOST_CHARACTERS]}\a"
        case "osc777":
            sequence = f"\x1b]777;notify;{text.replace(';', ',')};{plain(body)[:MOST_CHARACTERS]}\a"
        case _:
            return bell
    if environment.get("TMUX"):
        sequence = f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\"
    return bell + sequence


def known_way(environment: Mapping[str, str]) -> Way | None:
    """The notification that this terminal supports; inside tmux its name is known only if the shell sets it."""
    for name in ("TERM_PROGRAM", "LC_TERMINAL"):
        if protocol := KNOWN_PROGRAMS.get(environment.get(name, "")):
            return protocol
    term = environment.get("TERM", "")
    return next((protocol for start, protocol in KNOWN_TERMS if term.startswith(start)), None)

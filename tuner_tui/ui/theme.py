"""The two themes: few colours, each with one meaning, in dark and in light."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="tuner-dark",
    primary="#6cb6ff",
    secondary="#8b949e",
    accent="#f0a95b",
    success="#6bc58b",
    warning="#e3b341",
    error="#ff7b72",
    foreground="#d5dae1",
    background="#0f1318",
    surface="#0f1318",
    panel="#1b222b",
    dark=True,
    variables={
        "faint": "#6e7681",
        "cursor": "#223349",
        "footer-background": "#1b222b",
        "footer-key-foreground": "#f0a95b",
        "footer-description-foreground": "#b3bac4",
    },
)
LIGHT = Theme(
    name="tuner-light",
    primary="#0b62c4",
    secondary="#57606a",
    accent="#9a4a00",
    success="#11702f",
    warning="#855a00",
    error="#b3201f",
    foreground="#1f2328",
    background="#fbfaf7",
    surface="#fbfaf7",
    panel="#ebe8e1",
    dark=False,
    variables={
        "faint": "#767c85",
        "cursor": "#d3e3f8",
        "footer-background": "#ebe8e1",
        "footer-key-foreground": "#9a4a00",
        "footer-description-foreground": "#3d434a",
    },
)
_ANSI = BUILTIN_THEMES["ansi-dark"]
TERMINAL = replace(
    _ANSI,
    name="terminal-colours",
    primary="ansi_cyan",
    secondary="ansi_default",
    accent="ansi_magenta",
    variables={
        **_ANSI.variables,
        "faint": "ansi_bright_black",
        "cursor": "ansi_default",
        "footer-key-foreground": "ansi_magenta",
        "block-cursor-background": "ansi_cyan",
    },
)
"""The terminal's own colours, dark or light: for 16 colours, and for NO_COLOR, which leaves none of them."""

DEFAULT_VARIABLES = {"faint": "#808080", "cursor": "#405060"}
"""Our own variables: `$faint` is for secondary text, `$cursor` for the selected line."""


def prefers_light(colorfgbg: str | None) -> bool:
    """Whether the terminal reports (COLORFGBG, as "0;15") a light background."""
    background = (colorfgbg or "").rpartition(";")[2]
    return background in ("7", "15")

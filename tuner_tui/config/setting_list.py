"""Every setting, declared once with its help.

Uses only the standard library, because the app's first screen, the keeper and `config/paths.py` need some settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tuner_tui.errors import NotFoundError

SettingKind = Literal["switch", "choice", "number", "text", "folder", "words"]
"""The type of a value; `words` are a list of choices."""
Value = str | float | bool | tuple[str, ...] | None


@dataclass(frozen=True)
class Setting:
    """One setting; None means not set."""

    key: str
    title: str
    help: str
    kind: SettingKind
    default: Value = None
    choices: tuple[str, ...] = ()
    least: float = 0.0
    most: float = math.inf


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "folders.data",
        "Data folder",
        "Where runs, the queue, notes and feedback are stored; if unset, the system's default. Existing runs stay "
        "where they are: move them yourself while nothing trains. The queue at work continues in its old folder.",
        "folder",
    ),
    Setting(
        "folders.cache",
        "Cache folder",
        "Where files are stored that can be recreated, such as dequantised models: gigabytes each. If unset, the "
        "system's default. The contents of the old folder are not moved; they can be deleted.",
        "folder",
    ),
    Setting(
        "app.theme",
        "Theme",
        "The app's colours by name, such as tuner-dark, tuner-light or terminal-colours; if unset, the terminal "
        "decides. The command palette shows all.",
        "text",
    ),
    Setting(
        "memory.leave_free",
        "Leave free",
        "Gigabytes of GPU memory left free, for a GPU that also drives the desktop; plans and estimates respect it.",
        "number",
        0.0,
    ),
    Setting(
        "energy.price",
        "Price of energy",
        "Price of a kilowatt-hour; a run's measured energy is then also shown as a cost.",
        "number",
        most=1000.0,
    ),
    Setting("energy.currency", "Currency", "The currency shown after the cost of energy.", "text", "EUR"),
    Setting(
        "notify.bell",
        "Bell",
        "Ring the terminal's bell when a run ends while the app, or a command that follows it, is open.",
        "switch",
        True,
    ),
    Setting(
        "notify.terminal",
        "Terminal notification",
        "Ask the terminal itself to show a notification when a run ends, also over SSH: by OSC 9 (iTerm2, WezTerm, "
        "kitty, Ghostty), OSC 777 (foot, urxvt), or the one this terminal supports (auto). tmux needs "
        "allow-passthrough.",
        "choice",
        "auto",
        ("auto", "osc9", "osc777", "off"),
    ),
    Setting(
        "notify.desktop",
        "Desktop notification",
        "Show a desktop notification when a run ends, with notify-send, where the machine that trains has a desktop; "
        "the app may be closed.",
        "switch",
        True,
    ),
    Setting(
        "notify.on_finish",
        "Command after a run",
        "A shell command that the keeper runs when a run has ended, with TUNER_RUN (its name), "
        "TUNER_STATUS (finished, stopped, paused or failed), TUNER_FOLDER, TUNER_STEP, TUNER_TOTAL_STEPS, TUNER_LOSS, "
        "TUNER_SECONDS, TUNER_ADAPTER, TUNER_TITLE and TUNER_MESSAGE in its environment; unknown values are empty. "
        "Its output goes to keeper.log; its failure never affects a run.",
        "text",
    ),
    Setting(
        "notify.on_finish_seconds",
        "Time for the command",
        "The command is killed after this many seconds; the next run in the queue starts without waiting for it.",
        "number",
        60.0,
        least=1.0,
        most=3600.0,
    ),
    Setting(
        "trackers.report_to",
        "Trackers",
        "Send each run's curves to these too: tensorboard and trackio write files here, wandb sends them to Weights & "
        "Biases. Each has to be installed (pip install 'tuner-tui[tensorboard]' and so on). A tracker that fails never "
        "ends a run.",
        "words",
        (),
        ("tensorboard", "trackio", "wandb"),
    ),
    Setting(
        "trackers.project",
        "Project",
        "The project to which wandb and trackio add runs.",
        "text",
        "tuner-tui",
    ),
    Setting(
        "privacy.offline",
        "Offline",
        "Make no requests to the Hub: use only models and data that are already on this machine. With or without it, "
        "libraries' usage statistics are off, and nothing is uploaded unless you push it.",
        "switch",
        False,
    ),
    Setting(
        "limits.seconds",
        "Time limit",
        "Seconds of CPU time that one step of reading an untrusted file may take: a row rendered by a chat template, "
        "a batch of rows of a Parquet file, loading a tokenizer. Beyond it, reading ends with an error.",
        "number",
        10.0,
        least=0.1,
        most=86400.0,
    ),
    Setting(
        "limits.memory",
        "Memory limit",
        "Gigabytes of memory that reading an untrusted chat template, tokenizer, Parquet or Arrow file may take in "
        "total. Beyond it, reading ends with an error.",
        "number",
        4.0,
        least=0.1,
        most=4096.0,
    ),
)
BY_KEY = {setting.key: setting for setting in SETTINGS}
SECTIONS = frozenset(setting.key.partition(".")[0] for setting in SETTINGS)


def find_setting(key: str) -> Setting:
    """The setting of a key. Raises NotFoundError that suggests the nearest."""
    if key in BY_KEY:
        return BY_KEY[key]
    import difflib

    by_name = {setting.partition(".")[2]: setting for setting in BY_KEY}
    nearest = by_name.get(key) or next(iter(difflib.get_close_matches(key[:60], BY_KEY, n=1)), None)
    raise NotFoundError(
        "No such setting",
        f"There is no setting {key!r}.",
        f"Did you mean {nearest}?" if nearest else "See: tuner-tui config list",
    )

"""The user's settings in settings.toml, each declared once with its help.

Uses only the standard library, because the app's first screen, the keeper and `config/paths.py` need some settings.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui import guarded
from tuner_tui.config.standard_folders import standard_folder
from tuner_tui.config.toml_file import SettingsError as SettingsError
from tuner_tui.config.toml_file import changing, readable_tables
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
        "where they are: move them yourself while nothing trains. A running keeper continues in its own folder.",
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


LARGEST_FILE_BYTES = 1 << 18
SECTIONS = frozenset(setting.key.partition(".")[0] for setting in SETTINGS)


@dataclass(frozen=True)
class Settings:
    """The settings in the file; others have their default."""

    given: Mapping[str, Value] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    """Keys of the file that are unknown to this version; they are preserved."""

    def __getitem__(self, key: str) -> Value:
        return self.given.get(key, BY_KEY[key].default)

    def text(self, key: str) -> str | None:
        """A text, choice or folder."""
        value = self[key]
        return value if isinstance(value, str) and value else None

    def switch(self, key: str) -> bool:
        return self[key] is True

    def number(self, key: str) -> float | None:
        value = self[key]
        return value if isinstance(value, float) else None

    def words(self, key: str) -> tuple[str, ...]:
        value = self[key]
        return value if isinstance(value, tuple) else ()


def settings_file() -> Path:
    """The settings file."""
    return standard_folder("config") / "settings.toml"


@dataclass(frozen=True)
class _Reading:
    """The file as last read: repeated reads only check its modification time."""

    path: Path
    stamp: tuple[int, ...]
    settings: Settings
    """The usable settings of the file, all of them if there is no problem."""
    problem: SettingsError | None


_last: _Reading | None = None
_last_good: _Reading | None = None
_goes_on = False


def read_settings() -> Settings:
    """The current settings. Raises SettingsError, which names file, line and key, if the file is invalid."""
    settings, problem = usable_settings()
    if problem is not None and not _goes_on:
        raise SettingsError(problem.title, problem.message, problem.hint)
    return settings


def usable_settings() -> tuple[Settings, SettingsError | None]:
    """The current settings and the problem; for an invalid file, its valid settings or the last valid ones."""
    global _last, _last_good
    path = settings_file()
    stamp = _stamp(path)
    if not stamp:  # the file does not exist
        return Settings(), None
    if _last is None or (_last.path, _last.stamp) != (path, stamp):
        good = _last_good.settings if _last_good is not None and _last_good.path == path else None
        _last = _read(path, stamp, good)
        if _last.problem is None:
            _last_good = _last
    return _last.settings, _last.problem


def go_on_with_bad_settings(goes_on: bool = True) -> None:
    """For the app: invalid settings no longer raise; the app shows the problem."""
    global _goes_on
    _goes_on = goes_on


def _stamp(path: Path) -> tuple[int, ...]:
    """A value that changes with the file; empty if it does not exist."""
    try:
        link = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError:
        return (0,)
    try:
        stat = path.stat()
    except OSError:  # a broken symlink, or a symlink loop
        return (link.st_mtime_ns, link.st_ino)
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_mode)


def _read(path: Path, stamp: tuple[int, ...], last_good: Settings | None) -> _Reading:
    text = ""
    try:
        text = guarded.read_text(path, LARGEST_FILE_BYTES)
        return _Reading(path, stamp, _parse(text, path), None)
    except Unreadable as error:
        problem = SettingsError("The settings cannot be read", f"{path}: {error.problem}.", error.hint)
        salvaged, lost = Settings(), "folders privacy"
    except SettingsError as error:
        problem = error
        salvaged, lost = _salvaged(text)
    if last_good is not None:
        problem.meanwhile = "Until then, the last valid settings are used."
        return _Reading(path, stamp, last_good, problem)
    problem.meanwhile = "Until then, all other settings are used."
    if "folders" in lost:
        problem.meanwhile += " Runs and caches are searched in the default folders."
    if "privacy" in lost:  # privacy.offline may have been set
        salvaged = Settings({**salvaged.given, "privacy.offline": True}, salvaged.unknown)
        problem.meanwhile += " No requests are sent to the Hub."
    return _Reading(path, stamp, salvaged, problem)


def _salvaged(text: str) -> tuple[Settings, str]:
    """The valid settings of an invalid file, and the sections with lost settings."""
    tables, dropped_lines = readable_tables(text)
    given: dict[str, Value] = {}
    lost = {key.partition(".")[0] for key in BY_KEY if any(part in dropped_lines for part in key.split("."))}
    for key, value in _given(tables):
        if key in BY_KEY:
            problem, checked = _checked(BY_KEY[key], value)
            if problem:
                lost.add(key.partition(".")[0])
            else:
                given[key] = checked
    if not tables:
        lost = set(SECTIONS)
    lost |= {name for name, table in tables.items() if not isinstance(table, dict)}
    return Settings(given), " ".join(lost)


def set_setting(key: str, text: str) -> Value:
    """Change one setting in the file, preserving comments; returns the value.

    Raises NotFoundError for an unknown key, InputError for an invalid value, and TunerError when the file cannot be
    written.
    """
    value = parse_value(find_setting(key), text)
    if value is None:
        unset_setting(key)
        return None
    if BY_KEY[key].kind == "folder":
        _make_folder(Path(str(value)))
    section, _, name = key.partition(".")
    with changing(settings_file()) as document:
        if section not in document:
            import tomlkit

            document[section] = tomlkit.table()
        _table(document, section)[name] = list(value) if isinstance(value, tuple) else _whole(value)
    return value


def unset_setting(key: str) -> None:
    """Reset a setting to its default. Raises as `set_setting` does."""
    section, _, name = find_setting(key).key.partition(".")
    if not _stamp(settings_file()):
        return
    with changing(settings_file()) as document:
        if section in document and name in _table(document, section):
            del document[section][name]
            if not document[section]:
                del document[section]


def _table(document: Any, section: str) -> Any:
    """A section of the document. Raises SettingsError if it is not a table."""
    table = document[section]
    if not isinstance(table, dict):
        raise SettingsError(
            "The settings cannot be changed",
            f"{settings_file()}: {section} must be a table (got {str(table)[:80]}).",
            f"Remove that line, or make it [{section}].",
        )
    return table


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


def parse_value(setting: Setting, text: str) -> Value:
    """Parse a text as the setting's value; empty is None. Raises InputError."""
    typed = text.strip()
    if not typed:
        return None
    given: Any = typed
    match setting.kind:
        case "switch":
            words = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
            given = words.get(typed.lower(), typed)
        case "number":
            try:
                given = float(typed)
            except ValueError:
                given = typed
        case "words":
            given = [word.strip().strip("\"'") for word in typed.strip("[]").split(",") if word.strip()]
        case "folder":
            if typed[0] not in "/~":
                raise InputError(
                    f"Invalid value for {setting.key}",
                    f"It must be an absolute path (got {typed!r}; from the current folder that would be "
                    f"{Path(typed).absolute()}).",
                    setting.help,
                )
            given = _expanded(typed)
    problem, value = _checked(setting, given)
    if problem:
        raise InputError(f"Invalid value for {setting.key}", f"It {problem}.", setting.help)
    return value


def value_text(value: Value) -> str:
    """A value as text for input; empty for None."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:.12g}"
        case tuple():
            return ", ".join(value)
    return value


def worker_variables(settings: Settings) -> dict[str, str]:
    """The environment variables that the settings give processes with libraries."""
    variables = {}
    if settings.switch("privacy.offline"):
        variables["HF_HUB_OFFLINE"] = "1"
    if settings.words("trackers.report_to"):
        project = settings.text("trackers.project") or "tuner-tui"
        variables |= {"WANDB_PROJECT": project, "TRACKIO_PROJECT": project, "WANDB_SILENT": "true"}
    return variables


def money_words(energy_wh: float | None) -> str:
    """The cost of energy, such as 0.012 EUR; empty without a price, a measurement, or readable settings."""
    try:
        settings = read_settings()
    except SettingsError:
        return ""
    price = settings.number("energy.price")
    if price is None or energy_wh is None:
        return ""
    return f"{price * energy_wh / 1000:.2g} {settings.text('energy.currency') or ''}".rstrip()


def _checked(setting: Setting, given: Any) -> tuple[str, Value]:
    """(problem, value): the problem is empty for a valid value."""
    got = f"(got {json.dumps(given, default=str, ensure_ascii=False)[:80]})"
    match setting.kind:
        case "switch":
            return ("", given) if isinstance(given, bool) else (f"must be true or false {got}", None)
        case "number":
            is_number = (
                isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
            )
            if not is_number or not setting.least <= given <= setting.most:
                bound = f" to {setting.most:g}" if setting.most < math.inf else " or more"
                return f"must be a number, {setting.least:g}{bound} {got}", None
            return "", float(given)
        case "words":
            if not isinstance(given, list) or not set(map(str, given)) <= set(setting.choices):
                return f"must be a list of {', '.join(setting.choices)} {got}", None
            return "", tuple(dict.fromkeys(given))
        case "choice" if given not in setting.choices:
            return f"must be one of {', '.join(setting.choices)} {got}", None
        case "folder":
            if not isinstance(given, str) or not given.startswith(("/", "~")):
                return f"must be an absolute path such as /mnt/big/tuner {got}", None
            from tuner_tui.files import can_be_path

            if not can_be_path(given):
                return f"must be a path that a folder can have {got}", None
            if not Path(
                folder := _expanded(given)
            ).is_absolute():  # it would be another one in each current folder
                return (
                    f"must be an absolute path: the home folder of {folder.split('/')[0]} is not known",
                    None,
                )
            return "", folder
    if not isinstance(given, str) or "\0" in given:
        return f"must be text in quotes {got}", None
    return "", given


def _expanded(folder: str) -> str:
    try:
        return str(Path(folder).expanduser())
    except RuntimeError:  # "~name" of an unknown user
        return folder


OURS = {"runs", "queue", "notes", "feedback", "probes", "keeper.lock", "queue.lock"} | {
    "keeper.log", "generation.log", "fault.log", "dequantised", "tokens", "tokenizers", "headers", "pushes", "trash",
}  # fmt: skip
"""Entries of data and cache folders that were used before."""


def _make_folder(folder: Path) -> None:
    """Create a folder if it is missing. Raises InputError for one with other files, TunerError."""
    from tuner_tui.files import make_folder
    from tuner_tui.owned import MARK

    try:
        whole = folder.resolve()
        for place in (whole, *whole.parents):
            if (place / MARK).is_file():
                raise InputError(
                    "The folder is inside one of tuner-tui's own",
                    f"{place} is a folder in which tuner-tui deletes, such as a run or the trash.",
                    "Use one outside of it.",
                )
        make_folder(folder)
        names = {path.name for path in folder.iterdir()}
        if names and not names & OURS:
            raise InputError(
                "The folder has other files",
                f"{folder}: expected an empty or a new folder, or one that tuner-tui used before.",
                f"Use a new one, such as {folder / 'tuner-tui'}.",
            )
    except OSError as error:
        raise TunerError(
            "The folder cannot be created", f"{folder}: {error.strerror or error}.", "Use another one."
        ) from error


def _parse(text: str, path: Path) -> Settings:
    import tomllib

    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_toml(text, error, path) from None
    given: dict[str, Value] = {}
    problems = [
        f"{path}{_line(text, name)}: {name} must be a table, such as [{name}] (got {str(table)[:80]})."
        for name, table in tables.items()
        if name in SECTIONS and not isinstance(table, dict)
    ]
    unknown = [name for name, table in tables.items() if name not in SECTIONS and not isinstance(table, dict)]
    for key, value in _given(tables):
        if key not in BY_KEY:
            unknown.append(key)
            continue
        problem, given[key] = _checked(BY_KEY[key], value)
        if problem:
            problems.append(f"{path}{_line(text, *key.split('.'))}: {key} {problem}.")
    if problems:
        raise SettingsError(
            "The settings are invalid",
            "\n".join(map(plain, problems)),
            "Fix it there, or: tuner-tui config unset KEY",
        )
    return Settings(given, tuple(unknown))


def _given(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each key with its value."""
    for section, table in tables.items():
        if isinstance(table, dict):
            for name, value in table.items():
                yield f"{section}.{name}", value


def _not_toml(text: str, error: ValueError | RecursionError, path: Path) -> SettingsError:
    from tuner_tui.config.toml_lines import key_on, toml_problem

    line, message = toml_problem(text, error)
    place = f", line {line}" if line else ""
    key = key_on(text, line)
    return SettingsError(
        "The settings cannot be read as TOML",
        plain(f"{path}{place}: {f'{key}: ' if key else ''}{message}."),
        "Fix that line; an unreadable file is never changed.",
    )


def _line(text: str, *key: str) -> str:
    from tuner_tui.config.toml_lines import key_lines

    line = key_lines(text).get(key)
    return f", line {line}" if line else ""


def _whole(value: Value) -> Value:
    """Whole numbers are written without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

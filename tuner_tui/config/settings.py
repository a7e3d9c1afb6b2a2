"""The person's own settings: settings.toml beside their presets. Each is declared once, with its help.

Read with the standard library alone, because the app's first screen, the keeper and `config/paths.py` ask for some.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui.config.standard_folders import standard_folder
from tuner_tui.errors import InputError, NotFoundError, TunerError

if TYPE_CHECKING:
    from collections.abc import Mapping

SettingKind = Literal["switch", "choice", "number", "text", "folder", "words"]
"""How a value is asked for; `words` are any of the choices, as a list."""
Value = str | float | bool | tuple[str, ...] | None


@dataclass(frozen=True)
class Setting:
    """One setting; None as a value means that none is made."""

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
        "What a kilowatt hour costs you; a run's energy is then shown in money too, as far as it could be measured.",
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
        "Show one with notify-send where the machine that trains has a desktop; the app may be closed.",
        "switch",
        True,
    ),
    Setting(
        "notify.on_finish",
        "Command at a run's end",
        "A shell command that the keeper runs when a run has ended, with TUNER_RUN (its name), "
        "TUNER_STATUS (finished, stopped, paused or failed), TUNER_FOLDER, TUNER_STEP, TUNER_TOTAL_STEPS, TUNER_LOSS, "
        "TUNER_SECONDS, TUNER_ADAPTER, TUNER_TITLE and TUNER_MESSAGE in its environment; unknown values are empty. "
        "What it prints goes to keeper.log; its failure never touches a run.",
        "text",
    ),
    Setting(
        "notify.on_finish_seconds",
        "Time for the command",
        "The command is ended after this many seconds; the next run in the queue starts without waiting for it.",
        "number",
        60.0,
        least=1.0,
        most=3600.0,
    ),
    Setting(
        "trackers.report_to",
        "Trackers",
        "Send each run's curves to these too: tensorboard and trackio write files here, wandb sends them to its "
        "maker's service. Each has to be installed (pip install 'tuner-tui[tensorboard]' and so on). A tracker "
        "that fails never ends a run.",
        "words",
        (),
        ("tensorboard", "trackio", "wandb"),
    ),
    Setting(
        "trackers.project",
        "Project",
        "The project that wandb and trackio file runs under.",
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
        "Seconds of CPU time that one step of reading somebody else's file may take: a row written by a chat template, "
        "a batch of rows of a Parquet file, loading a tokenizer. Beyond it, reading ends with an error.",
        "number",
        10.0,
        least=0.1,
        most=86400.0,
    ),
    Setting(
        "limits.memory",
        "Memory limit",
        "Gigabytes that reading somebody else's chat template, tokenizer, Parquet or Arrow file may take in total. "
        "Beyond it, reading ends with an error.",
        "number",
        4.0,
        least=0.1,
        most=4096.0,
    ),
)
BY_KEY = {setting.key: setting for setting in SETTINGS}


class SettingsError(InputError):
    """The settings file cannot be used; says where."""


@dataclass(frozen=True)
class Settings:
    """What the file says; what it does not say has its default."""

    given: Mapping[str, Value] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    """Keys of the file that are no settings of this version; they are left alone."""

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
    """Where the settings are kept."""
    return standard_folder("config") / "settings.toml"


_last: tuple[Path, tuple[int, int, int], Settings] | None = None
"""The file as it was read last: asking again and again costs one look at its time."""


def read_settings() -> Settings:
    """The settings of now. Raises SettingsError, which names file and key, when the file cannot be used."""
    global _last
    path = settings_file()
    try:
        stat = path.stat()
    except OSError:  # there is none; without rights to look, defaults are all there is
        return Settings()
    stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    if _last is None or _last[:2] != (path, stamp):
        _last = (path, stamp, _parse(_read(path), path))
    return _last[2]


def set_setting(key: str, text: str) -> Value:
    """Change one setting in the file, which keeps its comments; gives the value.

    Raises NotFoundError for a key that there is not, InputError for a value that cannot be, and TunerError when the
    file cannot be written.
    """
    value = parse_value(find_setting(key), text)
    if value is None:
        unset_setting(key)
        return None
    if BY_KEY[key].kind == "folder":
        _make_folder(Path(str(value)))
    section, _, name = key.partition(".")
    document = _document()
    if section not in document:
        import tomlkit

        document[section] = tomlkit.table()
    _table(document, section)[name] = list(value) if isinstance(value, tuple) else _whole(value)
    _write(document)
    return value


def unset_setting(key: str) -> None:
    """Go back to a setting's default. Raises as `set_setting` does."""
    section, _, name = find_setting(key).key.partition(".")
    document = _document()
    if section in document and name in _table(document, section):
        del document[section][name]
        if not document[section]:
            del document[section]
        _write(document)


def _table(document: Any, section: str) -> Any:
    """A section of the document. Raises SettingsError where something else has its name."""
    table = document[section]
    if not isinstance(table, dict):
        raise SettingsError(
            "The settings cannot be changed",
            f"{settings_file()}: {section} must be a table (got {str(table)[:80]}).",
            f"Remove that line, or make it [{section}].",
        )
    return table


def find_setting(key: str) -> Setting:
    """The setting of a key. Raises NotFoundError with the nearest one that there is."""
    if key in BY_KEY:
        return BY_KEY[key]
    import difflib

    by_name = {each.partition(".")[2]: each for each in BY_KEY}
    near = by_name.get(key) or next(iter(difflib.get_close_matches(key[:60], BY_KEY, n=1)), None)
    raise NotFoundError(
        "No such setting",
        f"There is no setting {key!r}.",
        f"Did you mean {near}?" if near else "See: tuner-tui config list",
    )


def parse_value(setting: Setting, text: str) -> Value:
    """What was typed, as the setting's value; nothing typed is None. Raises InputError."""
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
            given = str(Path(typed).expanduser().absolute()) if typed[0] != "~" else _expanded(typed)
    problem, value = _checked(setting, given)
    if problem:
        raise InputError(f"{setting.key} cannot be that", f"It {problem}.", setting.help)
    return value


def value_text(value: Value) -> str:
    """A value as one types it; empty for none."""
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
    """What settings ask of processes with libraries in them, as environment variables."""
    variables = {}
    if settings.switch("privacy.offline"):
        variables["HF_HUB_OFFLINE"] = "1"
    if settings.words("trackers.report_to"):
        project = settings.text("trackers.project") or "tuner-tui"
        variables |= {"WANDB_PROJECT": project, "TRACKIO_PROJECT": project, "WANDB_SILENT": "true"}
    return variables


def money_words(energy_wh: float | None) -> str:
    """What energy costs, such as 0.012 EUR; empty without a price, a measurement, or settings that can be read."""
    try:
        settings = read_settings()
    except SettingsError:
        return ""
    price = settings.number("energy.price")
    if price is None or energy_wh is None:
        return ""
    return f"{price * energy_wh / 1000:.2g} {settings.text('energy.currency') or ''}".rstrip()


def _checked(setting: Setting, given: Any) -> tuple[str, Value]:
    """What is wrong with a value, else the value."""
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
            return "", _expanded(given)
    if not isinstance(given, str) or "\0" in given:
        return f"must be text in quotes {got}", None
    return "", given


def _expanded(folder: str) -> str:
    try:
        return str(Path(folder).expanduser())
    except RuntimeError:  # "~name" of nobody we know
        return folder


OURS = {"runs", "queue", "notes", "feedback", "probes", "keeper.lock", "queue.lock", "generation.log"} | {
    "dequantised", "tokens", "tokenizers", "headers", "pushes", "trash",
}  # fmt: skip
"""What lies in a data or cache folder that was used before."""


def _make_folder(folder: Path) -> None:
    """Make it if it is missing. Raises InputError for one that holds only other files, TunerError."""
    from tuner_tui.files import make_folder

    try:
        make_folder(folder)
        names = {path.name for path in folder.iterdir()}
        if names and not names & OURS:
            raise InputError(
                "The folder holds other files",
                f"{folder}: expected an empty or a new folder, or one that tuner-tui used before.",
                f"Name a new one, such as {folder / 'tuner-tui'}.",
            )
    except OSError as error:
        raise TunerError(
            "The folder cannot be made", f"{folder}: {error.strerror or error}.", "Name another one."
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            "The settings cannot be read", f"{path}: not UTF-8 text.", "Save it as UTF-8."
        ) from error
    except OSError as error:
        raise SettingsError("The settings cannot be read", f"{path}: {error.strerror or error}.") from error


def _parse(text: str, path: Path) -> Settings:
    import tomllib

    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            "The settings cannot be read as TOML", f"{path}: {error}.", "Fix it there."
        ) from None
    given: dict[str, Value] = {}
    unknown, problems = [], []
    for section, table in tables.items():
        if not isinstance(table, dict):
            unknown.append(section)
            continue
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in BY_KEY:
                unknown.append(key)
                continue
            problem, given[key] = _checked(BY_KEY[key], value)
            if problem:
                problems.append(f"{path}{_line(text, section, name)}: {key} {problem}.")
    if problems:
        raise SettingsError(
            "The settings cannot be used",
            "\n".join(problems),
            "Fix it there, or: tuner-tui config unset KEY",
        )
    return Settings(given, tuple(unknown))


def _line(text: str, section: str, name: str) -> str:
    from tuner_tui.config.toml_lines import key_lines

    line = key_lines(text).get((section, name))
    return f", line {line}" if line else ""


def _whole(value: Value) -> Value:
    """Whole numbers are written without a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _document() -> Any:
    """The file as a document that keeps comments; a file that is no TOML is not overwritten."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = settings_file()
    if not path.exists():
        return tomlkit.document()
    try:
        return tomlkit.parse(_read(path))
    except TOMLKitError as error:
        raise SettingsError(
            "The settings cannot be read as TOML", f"{path}: {error}.", "Fix it there."
        ) from None


def _write(document: Any) -> None:
    import tomlkit

    from tuner_tui.files import make_folder, write_atomic

    path = settings_file()
    try:
        make_folder(path.parent)
        write_atomic(path, tomlkit.dumps(document))
    except OSError as error:
        raise TunerError(
            "The settings cannot be written",
            f"{path}: {error.strerror or error}.",
            "Free space or rights there.",
        ) from error

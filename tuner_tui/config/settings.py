"""The user's settings in settings.toml: read, checked and changed.

Uses only the standard library, because the app's first screen, the keeper and `config/paths.py` need some settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui import guarded
from tuner_tui.config.setting_list import BY_KEY, SECTIONS, Value, find_setting
from tuner_tui.config.setting_values import checked_value, parse_value, without_point
from tuner_tui.config.standard_folders import standard_folder
from tuner_tui.errors import InputError, TunerError
from tuner_tui.errors import SettingsError as SettingsError
from tuner_tui.guarded import Unreadable
from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


LARGEST_FILE_BYTES = 1 << 18


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
    from tuner_tui.config.toml_file import readable_tables

    tables, dropped_lines = readable_tables(text)
    given: dict[str, Value] = {}
    lost = {key.partition(".")[0] for key in BY_KEY if any(part in dropped_lines for part in key.split("."))}
    for key, value in _given(tables):
        if key in BY_KEY:
            problem, checked = checked_value(BY_KEY[key], value)
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
    from tuner_tui.config.toml_file import changing

    with changing(settings_file()) as document:
        if section not in document:
            import tomlkit

            document[section] = tomlkit.table()
        _table(document, section)[name] = list(value) if isinstance(value, tuple) else without_point(value)
    return value


def unset_setting(key: str) -> None:
    """Reset a setting to its default. Raises as `set_setting` does."""
    section, _, name = find_setting(key).key.partition(".")
    if not _stamp(settings_file()):
        return
    from tuner_tui.config.toml_file import changing

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
        problem, given[key] = checked_value(BY_KEY[key], value)
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

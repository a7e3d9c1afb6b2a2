"""`tuner-tui config`: the user's settings."""

from __future__ import annotations

import json
from typing import Any

import click

from tuner_tui.cli.output import fill, plain
from tuner_tui.config.setting_list import BY_KEY, SETTINGS, Setting, find_setting
from tuner_tui.config.setting_values import parse_value, value_text
from tuner_tui.config.settings import Settings, read_settings, set_setting, settings_file, unset_setting
from tuner_tui.errors import InputError
from tuner_tui.runs.left_behind import left_behind


@click.group()
def config() -> None:
    """List, get, set and unset settings. They are stored in settings.toml; see `config path`."""


@config.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(as_json: bool) -> None:
    """List every setting with its value and what it does."""
    settings = read_settings()
    if as_json:
        click.echo(json.dumps([_as_json(setting, settings) for setting in SETTINGS], indent=2))
        return
    for setting in SETTINGS:
        value = value_text(settings[setting.key]) or "none"
        mark = "" if setting.key in settings.given else "  (default)"
        click.echo(f"{setting.key} = {plain(value)}{mark}")
        click.echo(fill(setting.help, "    "))
    for key in settings.unknown:
        click.echo(f"! {plain(key)} in {plain(str(settings_file()))} is not a setting of this version.")


@config.command()
@click.argument("key")
def get(key: str) -> None:
    """Print the value of KEY, empty for none."""
    click.echo(plain(value_text(read_settings()[find_setting(key).key])))


@config.command("set")
@click.argument("key")
@click.argument("value")
def set_(key: str, value: str) -> None:
    """Set KEY to VALUE."""
    if find_setting(key).key == "app.theme":
        _require_theme(value.strip())
    note = left_behind(key, parse_value(find_setting(key), value))
    text = value_text(set_setting(key, value))
    click.echo(f"{key} = {plain(text)}" if text else f"{key} is reset to its default.")
    _tell(note)


@config.command()
@click.argument("key")
def unset(key: str) -> None:
    """Reset KEY to its default."""
    note = left_behind(key, None)
    unset_setting(key)
    click.echo(f"{key} = {plain(value_text(BY_KEY[key].default) or 'none')}")
    _tell(note)


@config.command()
def path() -> None:
    """Print the path of the settings file."""
    click.echo(plain(str(settings_file())))


def _tell(note: str) -> None:
    if note:
        click.echo(fill(plain(f"Note: {note}")))


def _require_theme(name: str) -> None:
    """Raise InputError for an unknown theme."""
    from textual.theme import BUILTIN_THEMES

    from tuner_tui.ui.theme import DARK, LIGHT, TERMINAL

    names = [DARK.name, LIGHT.name, TERMINAL.name, *BUILTIN_THEMES]
    if name and name not in names:
        raise InputError("No such theme", f"There is no theme {name!r}.", f"Available: {', '.join(names)}.")


def _as_json(setting: Setting, settings: Settings) -> dict[str, Any]:
    return {
        "key": setting.key,
        "value": settings[setting.key],
        "default": setting.default,
        "is_set": setting.key in settings.given,
        "choices": setting.choices,
        "help": setting.help,
    }

"""`tuner-tui presets`: presets to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.output import fill, plain, plain_lines
from tuner_tui.config.presets import Preset, find_preset, list_presets, preset_spec
from tuner_tui.errors import InputError
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec


@click.group()
def presets() -> None:
    """Presets to start from: list, show, copy, and check your own."""


@presets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(as_json: bool) -> None:
    """List the shipped presets and your own."""
    presets = list_presets()
    if as_json:
        click.echo(json.dumps([_as_json(preset) for preset in presets], indent=2))
        return
    for preset in presets:
        own = "" if preset.is_shipped else "  (your own)"
        click.echo(click.style(plain(preset.name), bold=True) + own)
        click.echo(fill(preset.title, "    "))
        if preset.needs:
            click.echo(fill(f"Needs: {preset.needs}", "    ", "  "))
    click.echo("\nNext: tuner-tui presets copy NAME")


def _as_json(preset: Preset) -> dict[str, object]:
    keys = ("name", "title", "summary", "needs", "is_shipped")
    return {key: getattr(preset, key) for key in keys} | {"path": str(preset.path)}


@presets.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a preset with its comments."""
    preset = find_preset(name)
    if not preset.text:
        preset_spec(preset)  # says why it cannot be read
    click.echo(plain_lines(preset.text.rstrip("\n")))


@presets.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path), default="run.toml")
@click.option("--model", help="The model to use instead of the preset's.")
@click.option("--data", help="The training data to use instead of train.jsonl.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def copy(name: str, path: Path, model: str | None, data: str | None, force: bool) -> None:
    """Write a preset as your own run.toml, with its comments."""
    from tuner_tui.config.spec_file import parse_spec
    from tuner_tui.config.spec_writer import spec_text
    from tuner_tui.files import write_atomic

    preset = find_preset(name)
    if path.is_dir():
        path = path / "run.toml"
    if path.exists() and not force:
        raise InputError("The file exists", str(path), "Name another file, or add --force to overwrite it.")
    given = {"model": {"source": model} if model else {}, "data": {"train": data} if data else {}}
    spec = _with(preset_spec(preset), given)
    written = _as_seen_from(path.absolute().parent, spec, given)
    text = spec_text(written, preset.text, is_recipe=preset.is_shipped)
    parse_spec(text, path.name)  # what was given on the command line is checked like a file
    try:
        write_atomic(path, text, is_private=False)
    except OSError as error:
        raise InputError("Cannot write the file", f"{path}: {error.strerror}") from None
    click.echo(f"Wrote {plain(str(path))} from {plain(preset.name)}.")
    if spec.data.train == "train.jsonl":
        click.echo(
            "It expects your rows in train.jsonl in the same folder; data.train can name another file."
        )
    click.echo(f"Next: {shell_command('train', str(path))}")


def _as_seen_from(folder: Path, spec: RunSpec, given: dict[str, dict[str, str]]) -> RunSpec:
    """Paths on the command line are relative to here, those in a file to its folder."""
    from tuner_tui.config.spec_paths import resolve_paths

    if folder.resolve() == Path.cwd():
        return spec
    here = resolve_paths(spec, Path.cwd())
    return _with(
        spec, {name: {key: getattr(getattr(here, name), key) for key in keys} for name, keys in given.items()}
    )


def _with(spec: RunSpec, changes: dict[str, dict[str, str]]) -> RunSpec:
    sections = {name: getattr(spec, name).model_copy(update=keys) for name, keys in changes.items()}
    return spec.model_copy(update=sections)


@presets.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a run.toml and list all problems."""
    from tuner_tui.config.spec_file import read_spec

    spec = read_spec(file)
    click.echo(fill(f"{file} is valid: {spec.method.kind} with {spec.tuning.kind} of {spec.model.source}."))

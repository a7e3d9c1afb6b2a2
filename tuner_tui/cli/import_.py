"""`tuner-tui import`: a run.toml from the settings of another tool."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner_tui.cli.output import fill
from tuner_tui.config.methods.traits import TRAITS
from tuner_tui.errors import InputError
from tuner_tui.files import expanded
from tuner_tui.importing.table import TOOLS
from tuner_tui.text import counted, plain, shell_command

if TYPE_CHECKING:
    from tuner_tui.importing.imported import Imported
    from tuner_tui.importing.ledger import Account, Entry

TITLES: dict[Account, str] = {
    "taken": "Taken",
    "converted": "Converted: another value, name or meaning here",
    "not_taken": "Not taken: the result may differ",
    "not_needed": "Not needed here",
}


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="run.toml", help="Where to write; run.toml by default."
)
@click.option(
    "--from", "tool", type=click.Choice(TOOLS), help="The tool, if it is not recognised by its keys."
)
@click.option(
    "--method", type=click.Choice(list(TRAITS)), help="The method, if the file does not name it (TRL)."
)
@click.option("--model", help="The model to use instead of the file's.")
@click.option("--data", help="The training data to use instead of the file's.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_(
    file: Path,
    out: Path,
    tool: str | None,
    method: str | None,
    model: str | None,
    data: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a run.toml from the settings of another tool.

    FILE is a YAML file of Axolotl, LLaMA-Factory (also JSON), Unsloth or TRL, or a folder with adapter_config.json,
    training_args.json or trainer_state.json. Every key is listed: taken, converted with the reason, not needed, or
    not taken with the reason. Nothing is trained, downloaded or run. A model or data set that is not on this
    machine is listed; that is not an error. Pickles such as training_args.bin are never read.
    """
    from tuner_tui.config.spec_file import parse_spec
    from tuner_tui.files import write_atomic
    from tuner_tui.importing.imported import import_settings
    from tuner_tui.importing.written import toml_text

    path = expanded(file)
    out = expanded(out)
    if out.is_dir():
        out = out / "run.toml"
    if out.exists() and not force:
        raise InputError(
            "The file exists", str(out), "Name another file with --out, or add --force to overwrite it."
        )
    imported = import_settings(path, tool, method, model, data)
    text = toml_text(imported, out.absolute().parent)
    parse_spec(text, out.name)
    try:
        write_atomic(out, text, is_private=False)
    except OSError as error:
        raise InputError("Cannot write the file", f"{out}: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(_as_json(imported, out), indent=2))
        return
    _show(imported, out)


def _show(imported: Imported, out: Path) -> None:
    click.echo(fill(f"Read as settings of {imported.tool}."))
    several = len({entry.file for entry in imported.entries}) > 1
    for account, title in TITLES.items():
        entries = [entry for entry in imported.entries if entry.account == account]
        if not entries:
            continue
        click.echo("\n" + click.style(f"{title} ({counted(len(entries), 'key')})", bold=True))
        for line in _lines(entries, several=several):
            click.echo(fill(line, "  ", "  "))
    if imported.defaults:
        click.echo("\n" + click.style("Defaults of the tool that differ here, written out", bold=True))
        for default in imported.defaults:
            click.echo(fill(f"{default.key} = {_value(default.value)}: {default.reason}", "  ", "  "))
    for title, lines in (("Not on this machine", imported.missing), ("Notes", imported.notes)):
        if lines:
            click.echo("\n" + click.style(title, bold=True))
            for line in lines:
                click.echo(fill(line, "  ", "  "))
    click.echo(f"\nWrote {plain(str(out))}.")
    click.echo(f"Next: {shell_command('train', str(out), options=['--check'])}")


def _lines(entries: list[Entry], *, several: bool) -> list[str]:
    """A line for each key; keys that set nothing are put together by their reason."""
    lines: list[str] = []
    by_reason: dict[str, list[str]] = {}
    for entry in entries:
        name = f"{entry.file}: {entry.key}" if several else entry.key
        if entry.ours:
            ours = ", ".join(f"{key} = {_value(value)}" for key, value in entry.ours.items())
            lines.append(f"{name} -> {ours}" + (f" ({entry.reason})" if entry.reason else ""))
        else:
            by_reason.setdefault(entry.reason, []).append(name)
    return lines + [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _value(value: Any) -> str:
    return plain(json.dumps(value, ensure_ascii=False, default=str))


def _as_json(imported: Imported, out: Path) -> dict[str, object]:
    accounts: dict[str, object] = {
        account: [_entry(entry) for entry in imported.entries if entry.account == account]
        for account in TITLES
    }
    return {
        "out": str(out),
        "tool": imported.tool,
        "files": [str(path) for path in imported.files],
        **accounts,
        "defaults": [
            {"key": default.key, "value": _finite(default.value), "reason": default.reason}
            for default in imported.defaults
        ],
        "missing": list(imported.missing),
        "notes": list(imported.notes),
    }


def _entry(entry: Entry) -> dict[str, object]:
    ours = {key: _finite(value) for key, value in entry.ours.items()}
    return {"file": entry.file, "line": entry.line, "key": entry.key, "ours": ours, "reason": entry.reason}


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

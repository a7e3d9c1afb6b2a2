"""`tuner-tui runs compare`, `tree`, `branch` and `note`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.output import plain, plain_lines
from tuner_tui.errors import InputError
from tuner_tui.runs import folder as folders
from tuner_tui.text import shell_command, utf8

if TYPE_CHECKING:
    from tuner_tui.runs.comparison import ComparedRun, Difference

WIDEST = 24


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, curves included.")
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare RUNS: their results, and the settings in which they differ."""
    from tuner_tui.runs.comparison import ComparisonReader, differences, has_one_kind_of_loss, results

    chosen_folders = [folders.find_run_or_folder(run) for run in runs]
    if len(set(chosen_folders)) < 2:
        raise InputError("Too few runs", "Comparing needs two or more.", "See: tuner-tui runs list")
    compared = ComparisonReader().read(list(dict.fromkeys(chosen_folders)))
    differing = differences([run.settings for run in compared])
    if as_json:
        _print_json(compared, differing)
        return
    for letter, run in zip(letters(len(compared)), compared, strict=True):
        click.echo(
            f"{letter}  {plain(run.folder.name)}" + (f"  ({plain(run.problem)})" if run.problem else "")
        )
    click.echo()
    _print_table(letters(len(compared)), results(compared))
    if not has_one_kind_of_loss(compared):
        click.echo("These runs have losses of different kinds: their figures cannot be compared.")
    click.echo()
    if differing:
        _print_table(letters(len(compared)), differing)
    else:
        click.echo("Their settings are the same.")


@click.command()
@click.argument("run")
def tree(run: str) -> None:
    """Show which runs RUN started from, and which started from it."""
    from tuner_tui.runs.family import FamilyReader

    folder = folders.find_run(run)
    for line in FamilyReader().tree(folder, folders.list_runs()):
        mark = "  <" if line.name == folder.name else ""
        how = f"  ({line.words})" if line.words else ""
        click.echo(f"{'  ' * line.depth}{plain(line.name)}{how}{mark}")


@click.command()
@click.argument("run")
@click.option("--step", default="last", show_default=True, help="The checkpoint's step; see `runs show`.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("run.toml"),
    show_default=True,
    help="The file to write.",
)
def branch(run: str, step: str, out: Path) -> None:
    """Write a run.toml that starts from a checkpoint of RUN, to edit and train."""
    from tuner_tui.config.spec_writer import spec_text
    from tuner_tui.files import write_atomic
    from tuner_tui.runs.family import branch_spec, find_checkpoint

    folder = folders.find_run_or_folder(run)
    text = spec_text(branch_spec(folder, find_checkpoint(folder, step)))
    if out.exists():
        raise InputError("The file exists", str(out), "Name another file with --out.")
    try:
        write_atomic(out, text, is_private=False)
    except OSError as error:
        raise InputError("Cannot write the file", f"{out}: {error.strerror}") from None
    click.echo(f"Wrote {plain(str(out))}. Next: {shell_command('train', str(out))}")


@click.command()
@click.argument("run")
@click.option("--text", help="The note; empty removes it.")
@click.option("--tag", "add", multiple=True, help="A tag to add; more than one may be given.")
@click.option("--untag", "remove", multiple=True, help="A tag to remove.")
def note(run: str, text: str | None, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Show the note and tags of RUN, or change them."""
    from tuner_tui.runs.notes import Note, parse_tags, read_note, write_note

    folder = folders.find_run(run)
    current = read_note(folder.name)
    if text is not None or add or remove:
        removed = parse_tags(" ".join(remove))
        tags = (*(tag for tag in current.tags if tag not in removed), *parse_tags(" ".join(add)))
        current = Note(text=current.text if text is None else text.strip(), tags=tuple(dict.fromkeys(tags)))
        write_note(folder.name, current)
    if current.tags:
        click.echo(" ".join(f"#{plain(tag)}" for tag in current.tags))
    if current.text:
        click.echo(plain_lines(current.text))
    if current.is_empty:
        click.echo("No note.")


def letters(count: int) -> list[str]:
    """A, B, C: the runs' letters in tables and curves."""
    return [chr(ord("A") + number) if number < 26 else str(number + 1) for number in range(count)]


def _print_table(heads: list[str], rows: tuple[Difference, ...]) -> None:
    names = max(len(row.key) for row in rows)
    widths = [
        min(WIDEST, max(len(head), *(len(plain(row.values[column])) for row in rows)))
        for column, head in enumerate(heads)
    ]
    click.echo(
        " " * (names + 2)
        + "  ".join(f"{head:<{width}}" for head, width in zip(heads, widths, strict=True)).rstrip()
    )
    for row in rows:
        cells = [_cell(value, width) for value, width in zip(row.values, widths, strict=True)]
        click.echo(f"{row.key:<{names}}  {'  '.join(cells)}".rstrip())


def _cell(value: str, width: int) -> str:
    """Shortened in the middle: paths differ at their ends."""
    shown = plain(value)
    if len(shown) > width:
        shown = f"{shown[: width // 2 - 1]}…{shown[-(width - width // 2) :]}"
    return f"{shown:<{width}}"


def _print_json(compared: tuple[ComparedRun, ...], differing: tuple[Difference, ...]) -> None:
    import msgspec

    report = {
        "runs": [
            {
                "run": utf8(run.folder.name),
                "status": run.status,
                "problem": run.problem,
                "energy_wh": run.energy_wh,
                "state": run.run,
            }
            for run in compared
        ],
        "differences": {row.key: row.values for row in differing},
    }
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())

"""`tuner-tui runs disk` and `clean`: disk use of runs and caches, and cleaning up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.output import fill, plain
from tuner_tui.errors import NotFoundError, TunerError
from tuner_tui.text import size, utf8

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.disk import CleanUpItem

KINDS = ("checkpoints", "model", "cache", "leftovers")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def disk(as_json: bool) -> None:
    """Show the disk use of each run, and what can be removed."""
    from tuner_tui.runs.disk import clean_up_items, run_disk
    from tuner_tui.runs.folder import list_runs
    from tuner_tui.runs.queue import queued_names

    taken = sorted(map(run_disk, list_runs()), key=lambda usage: -usage.total)
    items = clean_up_items(queued_names())
    if as_json:
        _print_json(
            {
                "runs": [
                    {
                        "run": utf8(usage.folder.name),
                        "total_bytes": usage.total,
                        "checkpoints_bytes": usage.checkpoints,
                        "checkpoints": usage.checkpoint_count,
                        "adapter_bytes": usage.adapter,
                    }
                    for usage in taken
                ],
                "clean_up": [_as_json(item) for item in items],
            }
        )
        return
    for usage in taken:
        parts = (
            f"{usage.checkpoint_count} checkpoints {size(usage.checkpoints)}, adapter {size(usage.adapter)}"
        )
        click.echo(f"{size(usage.total):>10}  {plain(usage.folder.name)}  ({parts})")
    click.echo(f"{size(sum(usage.total for usage in taken)):>10}  all runs")
    click.echo()
    _list(items)
    if items:
        click.echo("Delete them with: tuner-tui runs clean")


@click.command()
@click.option("--only", type=click.Choice(KINDS), multiple=True, help="Only this kind; may be repeated.")
@click.option("--name", "names", multiple=True, help="Only this name; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(only: tuple[str, ...], names: tuple[str, ...], yes: bool) -> None:
    """Delete what is no longer needed, after showing what is deleted, freed and lost.

    Checkpoints of finished runs, dequantised models, other caches, and leftovers of interrupted work. Never deletes
    what a live or resumable run needs, or what in the trash can still be restored.
    """
    from tuner_tui.runs.disk import clean_up_items, delete_item
    from tuner_tui.runs.queue import queued_names

    items = [item for item in clean_up_items(queued_names()) if not only or item.kind in only]
    if missing := set(names) - {item.name for item in items}:
        raise NotFoundError(
            "Nothing removable has that name", ", ".join(sorted(missing)), "See: tuner-tui runs disk"
        )
    items = [item for item in items if not names or item.name in names]
    _list(items)
    if not items:
        return
    if not confirm("Delete them permanently?", "Nothing was deleted.", yes=yes):
        return
    stayed: list[str] = []
    freed = 0
    for item in items:
        try:
            delete_item(item)
        except OSError as error:
            stayed.append(
                f"{item.kind} {item.name}: {error.filename or item.name}: {error.strerror or error}."
            )
        freed += max(0, item.size_bytes - sum(map(_size_of, item.paths)))
    click.echo(f"Freed {size(freed)}.")
    if stayed:
        raise TunerError("Not all of it could be deleted", "\n".join(map(plain, stayed)))


def _size_of(path: Path) -> int:
    """What is left of something that was to go."""
    from tuner_tui.files import folder_size

    try:
        return folder_size(path) if path.is_dir() else path.lstat().st_size
    except OSError:
        return 0


def _list(items: list[CleanUpItem]) -> None:
    if not items:
        click.echo("Nothing is removable.")
        return
    click.echo(f"Removable, {size(sum(item.size_bytes for item in items))} in total:")
    for item in items:
        click.echo(fill(f"{size(item.size_bytes):>10}  {item.kind}: {item.name}", hanging=" " * 12))
        click.echo(fill(item.loses, " " * 12))


def _as_json(item: CleanUpItem) -> dict[str, object]:
    return {
        "kind": item.kind,
        "name": utf8(item.name),
        "size_bytes": item.size_bytes,
        "loses": item.loses,
        "paths": [utf8(str(path)) for path in item.paths],
    }


def _print_json(report: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())

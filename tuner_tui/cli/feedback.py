"""`tuner-tui feedback`: collections of annotations, in the terminal and from scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.feedback_models import MODE_NAMES, collect, generate, judge
from tuner_tui.cli.numbers import Finite
from tuner_tui.cli.output import fill
from tuner_tui.config.methods.traits import Feedback, trained_with
from tuner_tui.errors import InputError
from tuner_tui.text import column, counted, plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.feedback.exporting import Filters
    from tuner_tui.feedback.records import Mode, RowProblem


@click.group()
def feedback() -> None:
    """Annotate answers in the terminal; import, count and export annotations."""


for command in (collect, generate, judge):
    feedback.add_command(command)


@feedback.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List all collections, the most recently changed first."""
    from tuner_tui.feedback.collections import list_collections

    summaries = list_collections()
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(summaries)).decode())
        return
    if not summaries:
        click.echo(
            "No collections yet. Start one: tuner-tui feedback collect evening --side demo --prompts FILE"
        )
        return
    click.echo(f"{'name':<24}{'mode':<16}{'annotated':>10}{'ready':>7}{'unanswered':>11}")
    for summary in summaries:
        if summary.is_usable:
            click.echo(
                f"{column(summary.name, 24)}{column(summary.mode, 16)}"
                f"{summary.judged:>10}{summary.left:>7}{summary.waiting:>11}"
            )
        if summary.problem:
            name = "" if summary.is_usable else summary.name
            click.echo(f"{column(name, 24)}{summary.problem}")
            click.echo(fill(f"  {summary.detail}"))


@feedback.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(name: str, as_json: bool) -> None:
    """Annotator statistics: pace, biases, self-agreement, win rates."""
    from tuner_tui.feedback.collections import annotator_name, open_collection
    from tuner_tui.feedback.session import Session
    from tuner_tui.feedback.statistics import annotator_statistics
    from tuner_tui.feedback.statistics_words import statistics_lines

    with open_collection(name) as store:
        contents = store.contents()
        statistics = annotator_statistics(contents.items, contents.entries)
        if as_json:
            unreadable = {"unreadable": [str(problem) for problem in contents.problems]}
            click.echo(json.dumps(_statistics_json(name, statistics) | unreadable, allow_nan=False))
            return
        for line in statistics_lines(statistics, Session(store, annotator_name()).progress()):
            click.echo(plain(line))
        _tell_unreadable(name, contents.problems)


@feedback.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name: str, as_json: bool) -> None:
    """Check whether a collection is intact: its file, its last good copy, and its unreadable rows."""
    from tuner_tui.feedback.checking import check_collection

    report = check_collection(name)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        for line in report.lines():
            click.echo(plain(line))
    if not report.is_sound:
        raise SystemExit(1)


@feedback.command("import")
@click.argument("name")
@click.argument("file")
@click.option("--mode", type=click.Choice(MODE_NAMES), help="What is annotated, for a new collection.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="PART=TEMPLATE",
    help="How columns are read, such as 'verdict={preference} < 0': below 0 the first answer is preferred, above it "
    "the second.",
)
def import_command(name: str, file: str, mode: Mode | None, mapping: tuple[str, ...]) -> None:
    """Import the rows of FILE into a collection, which is created if missing: all rows or none.

    Rows are pairs (prompt, chosen, rejected), unpaired (prompt, completion, label or score), ranked (prompt, answers,
    ranks), not annotated (prompt, answers), prompts with a written answer, or prompts alone; or exports of arenas,
    Argilla, Label Studio and Open WebUI, and public preference data sets. Ties are imported as ties. Fields that may
    hold a verdict and are not understood are refused by name.
    """
    from tuner_tui.data.files.rows import locate
    from tuner_tui.feedback.collections import collection_path, open_or_create
    from tuner_tui.feedback.importing import read_import
    from tuner_tui.feedback.records import CollectionSettings
    from tuner_tui.feedback.saved_rows import keep_rows

    collection_path(name)
    path = locate(file)
    imported = read_import(path, mapping)  # before an empty collection is created
    settings = CollectionSettings(mode=mode) if mode and not collection_path(name).exists() else None
    with open_or_create(name, settings) as store:
        report = keep_rows(store, imported.rows, annotator=f"file:{path.name}")
    for line in [*report.lines(), *imported.lines()]:
        click.echo(fill(plain(line)))


@feedback.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .jsonl or .parquet file.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["auto", *get_args(Feedback)]),
    default="auto",
    help="; ".join(f"{kind} for {trained_with(kind)}" for kind in get_args(Feedback)) + ".",
)
@click.option("--person-only", is_flag=True, help="Only annotations made here by a person.")
@click.option("--ai", is_flag=True, help="Include proposals of a judge model that you have not annotated.")
@click.option("--clear", is_flag=True, help="Leave out slight preferences.")
@click.option("--agreed", is_flag=True, help="Leave out items on which annotations disagree.")
@click.option("--finished", is_flag=True, help="Leave out truncated answers.")
@click.option("--text", "is_text", is_flag=True, help="Plain text in place of turns.")
@click.option("--split", type=Finite(0, 0.5), default=0.0, help="Share of prompts for a second file.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def export(name: str, out: Path, kind: str, is_text: bool, split: float, force: bool, **flags: bool) -> None:
    """Write a collection in TRL's formats, with a data card beside it."""
    from tuner_tui.cli.output import tell_left_out
    from tuner_tui.feedback.export_file import export_collection

    report = export_collection(
        name,
        out,
        kind,  # type: ignore[arg-type]
        _filters(**flags),
        is_text=is_text,
        split=split,
        may_replace=force,
    )
    for line in report.lines:
        click.echo(fill(line) if "--finished" in line else line)
    tell_left_out(report.left_out)


@feedback.command()
@click.argument("name")
@click.option("--prompt", required=True, help="The prompt.")
@click.option("--answer", "answers", multiple=True, help="An answer; up to four.")
@click.option("--choose", type=click.IntRange(1, 4), help="The number of the preferred answer.")
@click.option("--slightly", is_flag=True, help="The preference is slight.")
@click.option("--tie", is_flag=True, help="No answer is better.")
@click.option("--good/--bad", "thumb", default=None, help="Whether a single answer is good.")
@click.option("--demonstration", help="How you would answer.")
@click.option("--note", help="A note about the item.")
def add(
    name: str,
    prompt: str,
    answers: tuple[str, ...],
    choose: int | None,
    slightly: bool,
    tie: bool,
    thumb: bool | None,
    demonstration: str | None,
    note: str | None,
) -> None:
    """Add one prompt, optionally with answers and an annotation."""
    from tuner_tui.feedback.collections import annotator_name, open_or_create
    from tuner_tui.feedback.records import Maker, NewAnswer
    from tuner_tui.feedback.session import Session, Shown
    from tuner_tui.generation.messages import Turn

    if len(answers) > 4:
        raise InputError("Too many answers", f"{len(answers)} were given; an item has up to four.")
    if choose is not None and choose > len(answers):
        raise InputError("No such answer", f"--choose {choose}, and {len(answers)} answers were given.")
    if not prompt.strip():
        raise InputError("The prompt is empty", "--prompt has no text.", "Write a prompt.")
    if (choose is not None or tie) and len(answers) < 2:
        raise InputError(
            "Nothing to compare", f"{len(answers)} answers were given.", "Give two --answer or more."
        )
    if thumb is not None and len(answers) != 1:
        raise InputError("Not one answer", "--good and --bad rate exactly one --answer.")
    with open_or_create(name) as store:
        new_answers = [NewAnswer(text=text, maker=Maker(kind="import")) for text in answers]
        item = store.item(store.add_item([Turn("user", prompt)], "command line", new_answers))
        session = Session(store, annotator_name())
        shown = Shown(item=item, answers=item.answers)
        if choose is not None:
            session.choose(shown, choose - 1, strength="slight" if slightly else "clear", note=note)
        elif tie:
            session.keep(shown, "tie", ranks=[1] * len(answers), note=note)
        elif thumb is not None:
            session.keep(shown, "thumbs", scores=[int(thumb)], note=note)
        elif demonstration:
            session.keep(shown, "demonstration", written=demonstration, note=note)
        elif note:
            store.note(item.id, note, session.annotator)
        click.echo(f"item {item.id}; {store.annotation_count()} saved")


@feedback.command()
@click.argument("name")
@click.option("--as", "new_name", help="Restore a deleted collection under this name.")
def restore(name: str, new_name: str | None) -> None:
    """Replace a damaged collection by its last good copy, or restore a deleted one from the trash."""
    from tuner_tui.feedback.collections import open_collection, restore_as
    from tuner_tui.feedback.collections import restore as put_back

    aside = None
    if new_name is None:
        aside = put_back(name)
    else:
        restore_as(name, new_name)
        name = new_name
    damaged = f"; the damaged file is kept: {plain(str(aside))}" if aside is not None else ""
    with open_collection(name) as store:
        click.echo(f"{name} has {store.annotation_count()} annotations again{damaged}")


@feedback.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Move a collection to the trash of collections; `feedback restore NAME` brings it back."""
    from tuner_tui.feedback.collections import collection_path, delete_collection, summarise

    if collection_path(name).exists() and not yes:
        question = f"Delete {name} with {counted(summarise(name).judged, 'annotation')}?"
        if not confirm(question, "Nothing was deleted.", yes=yes):
            return
    trash = delete_collection(name)
    click.echo(
        f"{name} is deleted. It is in {plain(str(trash))}. Restore it: {shell_command('feedback restore', name)}"
    )


def _tell_unreadable(name: str, problems: Sequence[RowProblem]) -> None:
    """Name what of a collection cannot be read, and so is in no figure and no row."""
    from tuner_tui.cli.output import tell_left_out
    from tuner_tui.feedback.checking import left_out_lines

    tell_left_out(left_out_lines(name, problems))


def _filters(person_only: bool, ai: bool, clear: bool, agreed: bool, finished: bool) -> Filters:
    from tuner_tui.feedback.exporting import Filters

    return Filters(
        person_only=person_only, with_ai=ai, clear_only=clear, agreed_only=agreed, finished_only=finished
    )


def _statistics_json(name: str, statistics: Any) -> dict[str, Any]:
    def share(value: Any) -> dict[str, Any]:
        return {
            "share": value.share if value.total else None,
            "low": value.low,
            "high": value.high,
            "total": value.total,
        }

    return {
        "name": name,
        "judged": statistics.annotations,
        "preferences": statistics.preferences,
        "ties": statistics.ties,
        "set_aside": statistics.set_aside,
        "undone": statistics.undone,
        "imported": statistics.imported,
        "median_seconds": statistics.seconds,
        "position": share(statistics.position.share)
        | {"bias": statistics.position.verdict, "places": list(statistics.place_counts)},
        "length": share(statistics.length.share) | {"bias": statistics.length.verdict},
        "agreement": share(statistics.agreement),
        "win_rates": [
            {
                "side": rate.side,
                "against": rate.against,
                "wins": rate.wins,
                "losses": rate.losses,
                "ties": rate.ties,
            }
            | share(rate.share)
            for rate in statistics.win_rates
        ],
        "proposals": {
            "made": statistics.proposals,
            "accepted": statistics.accepted,
            "overruled": statistics.overruled,
        },
        "enough_to_train": statistics.is_enough,
        "remarks": statistics.remarks(),
    }

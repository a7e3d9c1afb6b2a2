"""`tuner-tui feedback`: collections of judgements, in the terminal and from scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from tuner_tui.cli.output import fill
from tuner_tui.config.methods.traits import Feedback, trained_with
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.feedback.exporting import Filters, Kind
    from tuner_tui.feedback.records import CollectionSettings, Mode, RowProblem
    from tuner_tui.generation.messages import Candidate

MODE_NAMES = ("pairs", "ranking", "thumbs", "scores", "demonstrations")


@click.group()
def feedback() -> None:
    """Annotate answers in the terminal; import, count and export annotations."""


@feedback.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """All collections, the last changed first."""
    from tuner_tui.feedback.collections import list_collections

    found = list_collections()
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    if not found:
        click.echo(
            "No collections yet. Begin one: tuner-tui feedback collect evening --side demo --prompts FILE"
        )
        return
    click.echo(f"{'name':<24}{'mode':<16}{'judged':>7}{'ready':>7}{'to come':>9}")
    for each in found:
        if each.is_usable:
            click.echo(f"{each.name:<24}{each.mode:<16}{each.judged:>7}{each.left:>7}{each.waiting:>9}")
        if each.problem:
            name = "" if each.is_usable else each.name
            click.echo(f"{name:<24}{each.problem}")
            click.echo(fill(f"  {each.detail}"))


@feedback.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(name: str, as_json: bool) -> None:
    """Annotator statistics: pace, biases, agreement with yourself, win rates."""
    from tuner_tui.feedback.collections import open_collection, rater_name
    from tuner_tui.feedback.session import Session
    from tuner_tui.feedback.statistics import mirror
    from tuner_tui.feedback.statistics_words import mirror_lines

    with open_collection(name) as store:
        contents = store.contents()
        seen = mirror(contents.items, contents.entries)
        if as_json:
            known = {"unreadable": [str(problem) for problem in contents.problems]}
            click.echo(json.dumps(_mirror_json(name, seen) | known, allow_nan=False))
            return
        for line in mirror_lines(seen, Session(store, rater_name()).standing()):
            click.echo(plain(line))
        _tell_unreadable(name, contents.problems)


@feedback.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name: str, as_json: bool) -> None:
    """Whether a collection is complete: its file, its last good copy, and each row that cannot be read."""
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
@click.option("--mode", type=click.Choice(MODE_NAMES), help="What is judged, for a new collection.")
def import_command(name: str, file: str, mode: Mode | None) -> None:
    """Bring the rows of FILE into a collection, which is made if there is none: all rows or none.

    Rows are pairs (prompt, chosen, rejected), rated (prompt, completion, label or score), ranked (prompt, answers,
    ranks), unjudged (prompt, answers) or bare prompts.
    """
    from tuner_tui.data.files.rows import locate
    from tuner_tui.feedback.collections import collection_path, open_or_create
    from tuner_tui.feedback.importing import keep_rows, read_import
    from tuner_tui.feedback.records import CollectionSettings

    collection_path(name)
    path = locate(file)
    rows = read_import(path)  # before a collection is made for nothing
    settings = CollectionSettings(mode=mode) if mode and not collection_path(name).exists() else None
    with open_or_create(name, settings) as store:
        report = keep_rows(store, rows, rater=f"file:{path.name}")
    click.echo(
        f"{report.items} items: {report.judged} judged, {report.unjudged} to judge, {report.prompts} prompts without "
        f"answers; {report.already_there} were there already"
    )


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
@click.option("--person-only", is_flag=True, help="Only what persons judged here.")
@click.option("--ai", is_flag=True, help="Include proposals of a judge model that you have not annotated.")
@click.option("--clear", is_flag=True, help="No slight preferences.")
@click.option("--agreed", is_flag=True, help="Leave out items on which annotations disagree.")
@click.option("--finished", is_flag=True, help="Leave out truncated answers.")
@click.option("--text", "is_text", is_flag=True, help="Plain text in place of turns.")
@click.option(
    "--split", type=click.FloatRange(0, 0.5), default=0.0, help="Share of prompts for a second file."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def export(name: str, out: Path, kind: str, is_text: bool, split: float, force: bool, **flags: bool) -> None:
    """Write a collection in TRL's formats, with a data card beside it."""
    from tuner_tui.feedback.card import data_card
    from tuner_tui.feedback.collections import open_collection
    from tuner_tui.feedback.exporting import (
        available_kind,
        card_path,
        export_rows,
        nothing_to_export,
        split_by_prompt,
        write_rows,
    )

    if out.suffix not in (".jsonl", ".parquet"):
        raise InputError("Not an export's name", f"{out}: expected a name that ends in .jsonl or .parquet.")
    held_path = out.with_name(f"{out.stem}-evaluation{out.suffix}")
    for path in (out, held_path) if split else (out,):
        if path.exists() and not force:
            raise InputError("The file exists", str(path), "Add --force to overwrite it.")
    filters = _filters(**flags)
    with open_collection(name) as store:
        wanted: Kind = available_kind(store, filters) if kind == "auto" else kind  # type: ignore[assignment]
        rows = export_rows(store, wanted, filters, is_text=is_text)
        if not rows:
            raise nothing_to_export(store, f"of the kind {wanted}")
        train, held = split_by_prompt(rows, split)
        write_rows(train, out, data_card(store, wanted, train, filters))
        if held:
            write_rows(held, held_path, data_card(store, wanted, held, filters))
        problems = store.contents().problems
    click.echo(f"{len(train)} rows ({wanted}): {plain(str(out))}")
    if held:
        click.echo(f"{len(held)} rows held out by prompt: {plain(str(held_path))}")
    unfinished = sum(row.is_unfinished for row in rows)
    if unfinished:
        click.echo(fill(f"{unfinished} rows have a truncated answer; --finished leaves them out."))
    click.echo(f"card: {plain(str(card_path(out)))}")
    _tell_unreadable(name, problems)


@feedback.command()
@click.argument("name")
@click.option("--prompt", required=True, help="The prompt.")
@click.option("--answer", "answers", multiple=True, help="An answer; up to four.")
@click.option("--choose", type=click.IntRange(1, 4), help="The answer that is preferred, by its place.")
@click.option("--slightly", is_flag=True, help="It is preferred only slightly.")
@click.option("--tie", is_flag=True, help="None is better.")
@click.option("--good/--bad", "thumb", default=None, help="Whether a single answer is good.")
@click.option("--demonstration", help="How you would answer.")
@click.option("--note", help="A note about it.")
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
    """Add one prompt, with answers and an annotation if you like."""
    from tuner_tui.feedback.collections import open_or_create, rater_name
    from tuner_tui.feedback.records import Maker, NewAnswer
    from tuner_tui.feedback.session import Session, Shown
    from tuner_tui.generation.messages import Turn

    if len(answers) > 4:
        raise InputError("Too many answers", f"{len(answers)} were given; an item has up to four.")
    if choose is not None and choose > len(answers):
        raise InputError("No such answer", f"--choose {choose}, and {len(answers)} answers were given.")
    if not prompt.strip():
        raise InputError("The prompt is empty", "--prompt", "Write something.")
    if (choose is not None or tie) and len(answers) < 2:
        raise InputError(
            "Nothing to compare", f"{len(answers)} answers were given.", "Give two --answer or more."
        )
    if thumb is not None and len(answers) != 1:
        raise InputError("Not one answer", "--good and --bad are about one --answer.")
    with open_or_create(name) as store:
        given = [NewAnswer(text=text, maker=Maker(kind="import")) for text in answers]
        item = store.item(store.add_item([Turn("user", prompt)], "command line", given))
        session = Session(store, rater_name())
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
            store.note(item.id, note, session.rater)
        click.echo(f"item {item.id}; {store.kept()} saved")


@feedback.command()
@click.argument("name")
def restore(name: str) -> None:
    """Put the last good copy in the place of a damaged collection, or take a deleted one out of the trash."""
    from tuner_tui.feedback.collections import open_collection
    from tuner_tui.feedback.collections import restore as put_back

    aside = put_back(name)
    damaged = f"; the damaged file is kept: {plain(str(aside))}" if aside is not None else ""
    with open_collection(name) as store:
        click.echo(f"{name} has {store.kept()} annotations again{damaged}")


@feedback.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Move a collection to the trash of collections; `feedback restore NAME` brings it back."""
    from tuner_tui.feedback.collections import collection_path, delete_collection, summarise

    if collection_path(name).exists() and not yes:
        click.confirm(f"Delete {name} with {summarise(name).judged} annotations?", abort=True)
    trash = delete_collection(name)
    click.echo(
        f"{name} is deleted. It lies in {plain(str(trash))}. Restore it: {shell_command('feedback restore', name)}"
    )


@feedback.command()
@click.argument("name")
@click.option(
    "--side", "sides", multiple=True, metavar="MODEL[+ADAPTER]", help="Who answers; up to four, blind."
)
@click.option(
    "--prompts", "files", multiple=True, help="A file of prompts, or of any rows that import knows."
)
@click.option("--prompt", "typed", multiple=True, help="A prompt.")
@click.option("--mode", type=click.Choice(MODE_NAMES), help="What is judged.")
@click.option("--answers", type=click.IntRange(1, 4), help="Answers an item.")
@click.option("--max-new-tokens", type=click.IntRange(1, 32768), help="Longest answer in tokens.")
@click.option(
    "--temperature", type=click.FloatRange(0, 10), help="How freely tokens are drawn; 0 always the likeliest."
)
@click.option("--unsure-first", is_flag=True, help="Start where a judge model was least certain.")
def collect(
    name: str,
    sides: tuple[str, ...],
    files: tuple[str, ...],
    typed: tuple[str, ...],
    unsure_first: bool,
    **changes: Any,
) -> None:
    """Open the feedback screen on a collection, which is made if there is none."""
    import sys

    from tuner_tui.feedback.collections import open_or_create
    from tuner_tui.feedback.importing import import_file
    from tuner_tui.generation.messages import Turn

    candidates = tuple(read_side(side) for side in sides)
    if len(candidates) > 4:
        raise InputError("Too many sides", f"{len(candidates)} were given; up to four are compared.")
    with open_or_create(name) as store:
        settings = _changed(store.settings(), candidates, changes)
        if settings != store.settings():
            store.change_settings(settings)
        for file in files:
            import_file(store, file)
        known = store.prompts()
        store.add_items(
            [((Turn("user", text),), "typed", ()) for text in typed if (Turn("user", text),) not in known]
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise TunerError(
            "No terminal", "Judging needs one.", f"What is there: {shell_command('feedback stats', name)}"
        )
    from tuner_tui.ui.app import main_app
    from tuner_tui.ui.screens.feedback import FeedbackScreen

    main_app(FeedbackScreen(name, is_uncertain_first=unsure_first))


@feedback.command()
@click.argument("name")
@click.option("--server", help="An OpenAI-compatible server, such as http://localhost:11434/v1.")
@click.option(
    "--model", required=True, help="The judge: the server's name for it, or MODEL[+ADAPTER] without a server."
)
@click.option(
    "--principles",
    "principles_file",
    type=click.Path(path_type=Path),
    help="A text file of what to look for.",
)
@click.option(
    "--key-env",
    metavar="VARIABLE",
    help="The environment variable with this server's key; OPENAI_API_KEY goes by itself only to OpenAI's "
    "server or the one in OPENAI_BASE_URL.",
)
@click.option("--limit", type=click.IntRange(1), help="At most so many items.")
@click.option("--share", is_flag=True, help="Take memory also while a run is at work.")
def judge(
    name: str,
    server: str | None,
    model: str,
    principles_file: Path | None,
    key_env: str | None,
    limit: int | None,
    share: bool,
) -> None:
    """Have a judge model propose which answer is better; it is asked in both orders.

    Proposals do not count as annotations: accept them with y on the feedback screen, or overrule them. Where the orders
    disagree, the item is left to you; collect --unsure-first begins there.
    """
    import os

    from tuner_tui.feedback.collections import open_collection
    from tuner_tui.feedback.judge import DEFAULT_PRINCIPLES, judge_collection, local_judge
    from tuner_tui.feedback.judge_server import key_for, server_judge
    from tuner_tui.generation.client import Generators

    principles = DEFAULT_PRINCIPLES
    if principles_file is not None:
        from tuner_tui.config.spec_file import read_text

        principles = read_text(principles_file).strip()
    generators = Generators(may_share=share)
    ask = (
        server_judge(server, model, key_for(server, key_env, os.environ))
        if server
        else local_judge(generators, read_side(model))
    )
    try:
        with open_collection(name) as store:
            report = judge_collection(
                store,
                ask,
                f"{server} {model}" if server else model,
                principles,
                limit,
                lambda so_far: click.echo(
                    f"{so_far.proposed} proposed, {so_far.undecided} left to you", err=True
                ),
            )
    finally:
        generators.close()
    failed = f", {report.failed} without a reply" if report.failed else ""
    click.echo(f"{report.proposed} proposed, {report.undecided} left to you (the orders disagree){failed}")
    if report.is_unanswered:
        raise TunerError("The judge did not reply", plain(report.last_failure), "Run the command again.")
    if report.failed:
        click.echo(f"The last time there was no reply: {plain(report.last_failure)}", err=True)


def read_side(text: str) -> Candidate:
    """MODEL, or MODEL+ADAPTER where the adapter is a folder or a run's name. Raises InputError."""
    from tuner_tui.generation.candidates import candidate_of

    return candidate_of(text)


def _changed(
    settings: CollectionSettings, candidates: tuple[Candidate, ...], changes: dict[str, Any]
) -> CollectionSettings:
    import msgspec

    sampling = {key: changes[key] for key in ("max_new_tokens", "temperature") if changes[key] is not None}
    new: dict[str, Any] = {}
    if candidates:
        new["candidates"] = candidates
    if changes["mode"]:
        new["mode"] = changes["mode"]
    if changes["answers"]:
        new["answers_per_item"] = changes["answers"]
    if sampling:
        new["sampling"] = msgspec.structs.replace(settings.sampling, **sampling)
    return msgspec.structs.replace(settings, **new)


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


def _mirror_json(name: str, seen: Any) -> dict[str, Any]:
    def share(value: Any) -> dict[str, Any]:
        return {
            "share": value.share if value.total else None,
            "low": value.low,
            "high": value.high,
            "total": value.total,
        }

    return {
        "name": name,
        "judged": seen.kept,
        "preferences": seen.preferences,
        "ties": seen.ties,
        "set_aside": seen.set_aside,
        "undone": seen.undone,
        "imported": seen.imported,
        "median_seconds": seen.seconds,
        "position": share(seen.position.share)
        | {"bias": seen.position.verdict, "places": list(seen.place_counts)},
        "length": share(seen.length.share) | {"bias": seen.length.verdict},
        "agreement": share(seen.agreement),
        "win_rates": [
            {
                "side": each.side,
                "against": each.against,
                "wins": each.wins,
                "losses": each.losses,
                "ties": each.ties,
            }
            | share(each.share)
            for each in seen.win_rates
        ],
        "proposals": {"made": seen.proposals, "accepted": seen.accepted, "overruled": seen.overruled},
        "enough_to_train": seen.is_enough,
        "remarks": seen.remarks(),
    }

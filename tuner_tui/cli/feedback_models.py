"""`tuner-tui feedback collect`, `generate` and `judge`: the commands in which models answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner_tui.cli.numbers import Finite
from tuner_tui.cli.output import fill
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted, duration, plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.feedback.judge import JudgeReport
    from tuner_tui.feedback.records import CollectionSettings
    from tuner_tui.generation.messages import Candidate

MODE_NAMES = ("pairs", "ranking", "thumbs", "scores", "demonstrations")


def _collection_options(command: Callable[..., None]) -> Callable[..., None]:
    """What a collection is to be asked, and by which models; a missing one is created."""
    options = (
        click.argument("name"),
        click.option(
            "--side",
            "sides",
            multiple=True,
            metavar="MODEL[+ADAPTER]",
            help="A model that answers; up to four, compared blind.",
        ),
        click.option(
            "--prompts", "files", multiple=True, help="A file of prompts, or of any rows that import reads."
        ),
        click.option("--prompt", "typed", multiple=True, help="A prompt."),
        click.option("--mode", type=click.Choice(MODE_NAMES), help="What is annotated."),
        click.option("--answers", type=click.IntRange(1, 4), help="Answers per item."),
        click.option(
            "--max-new-tokens", type=click.IntRange(1, 32768), help="Maximum length of an answer in tokens."
        ),
        click.option("--temperature", type=Finite(0, 10), help="Sampling temperature; 0 is greedy."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_collection_options
@click.option(
    "--unsure-first", is_flag=True, help="Start with the items on which a judge model was least certain."
)
def collect(
    name: str,
    sides: tuple[str, ...],
    files: tuple[str, ...],
    typed: tuple[str, ...],
    unsure_first: bool,
    **changes: Any,
) -> None:
    """Open the feedback screen on a collection, which is created if missing."""
    import sys

    _prepare(name, sides, files, typed, changes)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise TunerError(
            "No terminal",
            "Annotating needs one.",
            f"To see the collection: {shell_command('feedback stats', name)}",
        )
    from tuner_tui.ui.app import main_app
    from tuner_tui.ui.screens.feedback import FeedbackScreen

    main_app(FeedbackScreen(name, is_uncertain_first=unsure_first))


@click.command()
@_collection_options
@click.option("--share", is_flag=True, help="Load the model even while a run is training.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
def generate(
    name: str,
    sides: tuple[str, ...],
    files: tuple[str, ...],
    typed: tuple[str, ...],
    share: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    """Generate the answers of a collection that are missing, so that annotating needs no waiting.

    Answers are saved as they come. Ctrl-C keeps the complete ones, and the same command continues.
    """
    import json

    from tuner_tui.cli.progress import ProgressLine, tell_interrupted
    from tuner_tui.feedback.answer_all import answer_all
    from tuner_tui.feedback.collections import annotator_name, open_or_create
    from tuner_tui.generation.client import Generators

    _prepare(name, sides, files, typed, changes)
    line = ProgressLine(is_quiet=as_json)
    generators = Generators(may_share=share, on_state=line.note)
    try:
        with line, open_or_create(name) as store:
            report = answer_all(store, annotator_name(), generators, lambda now: line.move(now.words))
    except KeyboardInterrupt:
        tell_interrupted("Complete answers are kept.")
        raise
    finally:
        generators.listen(lambda words: None)
        generators.close()
    if as_json:
        click.echo(json.dumps({"name": name, "answered": report.answered, "left": report.left}))
    else:
        click.echo(f"{plain(name)}: {report.words}")
    if report.problem is not None:
        problem = report.problem
        raise TunerError(f"Some prompts have no answers: {problem.title}", problem.message, problem.hint)


def _prepare(
    name: str, sides: tuple[str, ...], files: tuple[str, ...], typed: tuple[str, ...], changes: dict[str, Any]
) -> None:
    """Change a collection's settings, and add prompts that it lacks. Raises InputError before anything is changed."""
    from tuner_tui.cli.output import tell_left_out
    from tuner_tui.data.files.rows import locate
    from tuner_tui.feedback.collections import open_or_create
    from tuner_tui.feedback.importing import read_import
    from tuner_tui.feedback.saved_rows import keep_rows
    from tuner_tui.generation.messages import Turn

    candidates = tuple(read_side(side) for side in sides)
    if len(candidates) > 4:
        raise InputError("Too many models", f"{len(candidates)} were given; the maximum is four.")
    paths = [locate(file) for file in files]
    read_files = [
        (path, read_import(path, prompts_only=True)) for path in paths
    ]  # before a collection is created
    with open_or_create(name) as store:
        settings = _changed(store.settings(), candidates, changes)
        if settings != store.settings():
            store.change_settings(settings)
        for path, imported in read_files:
            keep_rows(store, imported.rows, annotator=f"file:{path.name}")
            tell_left_out(imported.lines())
        known_prompts = store.prompts()
        store.add_items(
            [
                ((Turn("user", text),), "typed", ())
                for text in typed
                if (Turn("user", text),) not in known_prompts
            ]
        )


@click.command()
@click.argument("name")
@click.option("--server", help="An OpenAI-compatible server, such as http://localhost:11434/v1.")
@click.option(
    "--model",
    required=True,
    help="The judge model: its name on the server, or MODEL[+ADAPTER] without a server.",
)
@click.option(
    "--principles",
    "principles_file",
    type=click.Path(path_type=Path),
    help="A text file with the criteria.",
)
@click.option(
    "--key-env",
    metavar="VARIABLE",
    help="The environment variable with this server's key; without it OPENAI_API_KEY is sent only to "
    "OpenAI's server or the one in OPENAI_BASE_URL.",
)
@click.option("--limit", type=click.IntRange(1), help="Maximum number of items.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 1_000_000),
    help="Maximum length of a reply in tokens, including reasoning; 2048 on a server and 200 without one by default.",
)
@click.option("--share", is_flag=True, help="Load the model even while a run is training.")
def judge(
    name: str,
    server: str | None,
    model: str,
    principles_file: Path | None,
    key_env: str | None,
    limit: int | None,
    max_tokens: int | None,
    share: bool,
) -> None:
    """Have a judge model propose which answer is better; it is asked in both orders.

    Proposals do not count as annotations: accept them with y on the feedback screen, or overrule them. Where the
    orders disagree, the item is left to you; collect --unsure-first begins there. A reply without a verdict is not
    saved: the item stays open for the next judge.
    """
    import os
    import time

    from tuner_tui.cli.progress import ProgressLine, tell_interrupted
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
        server_judge(server, model, key_for(server, key_env, os.environ), max_tokens=max_tokens)
        if server
        else local_judge(generators, read_side(model), max_tokens)
    )
    line, began = ProgressLine(), time.monotonic()

    def tell(so_far: JudgeReport) -> None:
        left = (time.monotonic() - began) / so_far.done * (so_far.items - so_far.done)
        line.move(f"{so_far.done} of {counted(so_far.items, 'item')}, {duration(left)} left: {so_far.words}")

    try:
        with line, open_collection(name) as store:
            judge_name = f"{server} {model}" if server else model
            report = judge_collection(store, ask, judge_name, principles, limit, tell)
    except KeyboardInterrupt:
        tell_interrupted("Proposals so far are kept.")
        raise
    finally:
        generators.close()
    click.echo(fill(report.words))
    if report.is_unanswered and report.unreadable:
        raise TunerError("The judge gave no verdict", plain(report.last_unreadable), report.hint)
    if report.is_unanswered:
        raise TunerError("The judge did not reply", plain(report.last_failure), "Run the command again.")
    if report.unreadable:
        hint = f" {report.hint}." if report.hint else ""
        click.echo(
            fill(f"The last reply that was not read: {plain(report.last_unreadable)}.{hint}"), err=True
        )
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

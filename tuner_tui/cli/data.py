"""`tuner-tui data`: check, show and convert data sets."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tuner_tui.cli.data_words import report_lines, row_lines, token_lines
from tuner_tui.cli.numbers import LENGTH
from tuner_tui.cli.output import plain, tell_left_out
from tuner_tui.config.data_section import FEWEST_BYTES
from tuner_tui.config.methods.traits import DEFAULT_METHOD, TRAITS
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.checking.report import DataReport
    from tuner_tui.data.checking.with_model import ModelLook
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.data.tokens.lengths import LengthReport
    from tuner_tui.data.tokens.microscope import LookReply

SHAPES = ("auto", "messages", "instruction", "prompt_completion", "text", "preference", "rated", "prompts")


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for reading a file, shared by several commands."""
    options = (
        click.option(
            "--shape",
            type=click.Choice(SHAPES),
            default="auto",
            help="The dataset type, where the detection is wrong.",
        ),
        click.option(
            "--map",
            "mapping",
            multiple=True,
            metavar="PART=TEMPLATE",
            help="For example 'prompt={question}'.",
        ),
        click.option(
            "--fix", "fixes", multiple=True, metavar="STEP", help="Fix rows, such as drop_duplicates."
        ),
        click.option("--split", help="The split of a folder or a Hub data set."),
        click.option("--encoding", help="The encoding of a text file that is not UTF-8."),
        click.option(
            "--chunk-bytes",
            type=click.IntRange(min=FEWEST_BYTES),
            metavar="BYTES",
            help="Join and split paragraphs of text, Markdown and PDF files to rows of at most so many bytes.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


template_option = click.option(
    "--template", help='A file with a chat template to use in place of the model\'s, or "chatml".'
)


loss_option = click.option(
    "--loss-on",
    type=click.Choice(["answers", "all"]),
    default="answers",
    show_default=True,
    help="Which tokens have loss: the assistant's, or all.",
)


@click.group()
def data() -> None:
    """Check, show and convert data sets."""


@data.command()
@click.argument("file")
@reading_options
@click.option("--evaluation", metavar="FILE", help="Held-out rows, which must not be in FILE.")
@click.option(
    "--method",
    type=click.Choice(tuple(TRAITS)),
    help="Check the rows for this training method; by default for all methods that accept the dataset type.",
)
@click.option("--model", help="Render the rows with this model's chat template, and count their tokens.")
@template_option
@loss_option
@click.option("--length", type=LENGTH, default=1024, show_default=True, help="The length limit in tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    file: str,
    evaluation: str | None,
    method: MethodKind | None,
    model: str | None,
    template: str | None,
    loss_on: Literal["answers", "all"],
    length: int,
    as_json: bool,
    **how: Any,
) -> None:
    """Check FILE and list its problems.

    FILE is a data file, a folder of them, hub:owner/name, feedback:COLLECTION, or "demo". Exits with code 2 if some
    of it cannot be trained on as it is.
    """
    from tuner_tui.data.checking.checks import check as check_data

    lengths = None
    try:
        reading = _reading(file, how)
        held_out = _reading(evaluation, how) if evaluation else None
        report = check_data(reading, held_out, method=method, loss_on=loss_on, on_progress=_progress())
        if model:
            look = _look_with_model(reading, report, model, template, loss_on, length)
            report, lengths = look.added_to(report), look.lengths
    except TunerError as error:
        if not as_json:
            raise
        click.echo(json.dumps(_refused(file, error), indent=2))
        click.get_current_context().exit(error.exit_code)
    if as_json:
        click.echo(json.dumps(_as_json(file, report, lengths), indent=2))
    else:
        lines = report_lines(file, report, lengths)
        if model and lengths is None:
            lines += ["", "No tokens are counted: no row can be trained on; see the errors above."]
        click.echo("\n".join(lines))
    click.get_current_context().exit(2 if report.worst == "error" else 0)


@data.command()
@click.argument("file")
@click.argument("row", type=int)
@reading_options
@click.option("--model", help="Show the tokens that this model would be trained on.")
@click.option(
    "--method",
    type=click.Choice(tuple(TRAITS)),
    default=DEFAULT_METHOD,
    show_default=True,
    help="The training method.",
)
@template_option
@loss_option
@click.option("--length", type=LENGTH, default=1024, show_default=True, help="The length limit in tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(
    file: str,
    row: int,
    model: str | None,
    template: str | None,
    method: MethodKind,
    loss_on: str,
    length: int,
    as_json: bool,
    **how: Any,
) -> None:
    """Show row number ROW of FILE, counted from 1: as stored, as parsed, and, with --model, its tokens."""
    import itertools

    from tuner_tui.data.recognition.reading import plain_rows, raw_rows
    from tuner_tui.data.rows.unused import is_used_with

    if not 1 <= row < sys.maxsize:
        raise InputError("No such row", f"{file}: row {row}; rows are numbered from 1.")
    reading = _reading(file, how)
    raw = next(itertools.islice(raw_rows(reading), row - 1, row), None)
    if raw is None:
        raise InputError("No such row", f"{file} has fewer than {counted(row, 'row')}.")
    if isinstance(raw.row, InputError):
        raise raw.row
    unfixed = plain_rows(reading, with_fixes=False)
    parsed = next(itertools.islice(unfixed.rows, row - 1, row))
    problem = parsed.row if isinstance(parsed.row, InputError) else None
    unused = [name for name in unfixed.unused.names if not is_used_with(name, loss_on)]
    microscope = None
    if model and problem is None:
        from tuner_tui.keeper.microscope import look_once

        microscope = look_once(reading, row, model, method, loss_on, length, template)
    if as_json:
        shown = {
            "file": str(raw.file),
            "number": raw.number,
            "shape": unfixed.layout.shape,
            "row": raw.row,
            "read_as": None if problem else parsed.row,
            "problem": problem and str(problem),
            "unused_fields": unused,
            "tokens": microscope and _tokens_as_json(microscope),
            "left_out": [*microscope.left_out] if microscope else [],
        }
        click.echo(json.dumps(shown, indent=2, default=str))
        return
    click.echo("\n".join(row_lines(raw, unfixed.layout, parsed, problem)))
    if microscope is not None:
        click.echo("\n".join(token_lines(microscope)))


@data.command()
@click.argument("file")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@reading_options
@click.option("--to", type=click.Choice(SHAPES[1:]), help="The dataset type to write; unchanged by default.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def convert(file: str, target: Path, to: str | None, force: bool, **how: Any) -> None:
    """Convert FILE's rows to a dataset type and write them as JSONL to TARGET; FILE is not changed."""
    from collections import Counter

    from tuner_tui.data.recognition.convert import convert_file
    from tuner_tui.data.rows.faults import left_out_words

    if target.exists() and not force:
        raise InputError("The file exists", str(target), "Name another file, or add --force to overwrite it.")
    left_out: Counter[str] = Counter()
    written = convert_file(_reading(file, how), target, to, left_out)
    click.echo(f"{counted(written, 'row')} written to {plain(str(target))}")
    if left_out:
        click.echo(f"Left out: {left_out_words(left_out)}.")


@data.group()
def cache() -> None:
    """Tokenised data sets, cached so that later runs start sooner."""


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_cache(as_json: bool) -> None:
    """List cached data sets, the newest first."""
    from tuner_tui.data.tokens import token_cache
    from tuner_tui.text import size

    entries = token_cache.list_entries()
    if as_json:
        listed = [{**dataclasses.asdict(entry), "path": str(entry.path)} for entry in entries]
        click.echo(json.dumps({"folder": str(token_cache.folder()), "entries": listed}, indent=2))
        return
    for entry in entries:
        click.echo(f"{size(entry.size_bytes):>9}  {entry.key[:12]}  {plain(entry.source)}")
    if not entries:
        click.echo("The cache is empty.")


@cache.command("clear")
def clear_cache() -> None:
    """Clear the cache; runs tokenise again when needed."""
    from tuner_tui.data.tokens import token_cache
    from tuner_tui.text import size

    click.echo(f"Freed {size(token_cache.clear())}.")


def _reading(file: str, how: dict[str, Any]) -> Reading:
    from typing import get_args

    from tuner_tui.config.data_section import Fix
    from tuner_tui.data.files.rows import locate
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.feedback.as_data import file_of, is_collection, left_out_of

    if is_collection(file):
        tell_left_out(left_out_of(file))
        file = str(file_of(file))
    for step in how["fixes"]:
        if step not in get_args(Fix):
            raise InputError("No such fix", repr(step), f"Fixes: {', '.join(get_args(Fix))}.")
    return Reading(
        locate(file),
        how["shape"],
        None,
        how["split"],
        how["encoding"],
        tuple(how["mapping"]),
        tuple(how["fixes"]),
        chunk_bytes=how["chunk_bytes"],
    )


def _progress() -> Callable[[int], None] | None:
    if not sys.stderr.isatty():
        return None
    return lambda rows: click.echo(f"\r{counted(rows, 'row')}", nl=False, err=True)


def _look_with_model(
    reading: Reading,
    report: DataReport,
    model: str,
    template: str | None,
    loss_on: Literal["answers", "all"],
    limit: int,
) -> ModelLook:
    from tuner_tui.data.checking.with_model import look_with_model
    from tuner_tui.data.tokens.template import load_model_text
    from tuner_tui.models.tokenizer_folder import NoTokenizer, tokenizer_folder

    try:
        folder = tokenizer_folder(model)
    except NoTokenizer:
        from tuner_tui.keeper.microscope import look_once

        with contextlib.suppress(InputError):  # for any row: reading one extracts a GGUF file's tokenizer
            look_once(reading, 1, model, DEFAULT_METHOD, "all", limit)
        folder = tokenizer_folder(model)
    with load_model_text(folder, template) as text:
        return look_with_model(report, text, limit, loss_on=loss_on)


def _tokens_as_json(reply: LookReply) -> list[dict[str, Any]]:
    import msgspec

    return [
        {
            "title": sequence.title,
            "is_dropped": sequence.is_dropped,
            "notes": list(sequence.notes),
            "tokens": [msgspec.structs.asdict(token) for token in sequence.tokens],
        }
        for sequence in reply.sequences
    ]


def _refused(file: str, error: TunerError) -> dict[str, Any]:
    problem = {
        "level": "error", "kind": "cannot be read", "count": 1, "rows": [], "message": str(error), "advice": error.hint,
        "fix": None,
    }  # fmt: skip
    return {"file": file, "shape": None, "rows": 0, "mapping": {}, "unused_fields": [], "problems": [problem]}


def _as_json(file: str, report: DataReport, lengths: LengthReport | None) -> dict[str, Any]:
    layout = report.layout
    return {
        "file": file,
        "shape": layout.shape,
        "variant": layout.variant,
        "confidence": layout.confidence,
        "reason": layout.reason,
        "mapping": layout.mapping,
        "rows": report.rows,
        "is_partial": report.is_partial,
        "unused_fields": list(report.unused_fields),
        "not_read": report.not_read,
        "seconds": round(report.seconds, 3),
        "problems": [dataclasses.asdict(problem) for problem in report.problems],
        "lengths": dataclasses.asdict(lengths) if lengths else None,
    }

"""`tuner-tui push`: pushes a run to the Hugging Face Hub, private by default, after showing all files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.export import SKIP_HELP, SKIPPABLE, show_difference
from tuner_tui.cli.output import fill, plain
from tuner_tui.cli.progress import WorkTeller
from tuner_tui.errors import InputError, TunerError
from tuner_tui.runs.export_events import Form
from tuner_tui.runs.folder import find_run_or_folder
from tuner_tui.text import shell_line, size

if TYPE_CHECKING:
    from tuner_tui.sharing.card import SampleChoice
    from tuner_tui.sharing.hub_protocol import Pushed
    from tuner_tui.sharing.push import Prepared


@click.command()
@click.argument("run")
@click.option("--to", "repo_id", required=True, metavar="OWNER/NAME", help="The repository.")
@click.option(
    "--as",
    "form",
    type=click.Choice(get_args(Form)),
    default="adapter",
    show_default=True,
    help="The form to push; see `export`.",
)
@click.option(
    "--private",
    "visibility",
    flag_value="private",
    help="Only you, or your organisation's members, can see it (the default).",
)
@click.option("--public", "visibility", flag_value="public", help="Everyone can see it.")
@click.option("--dry-run", is_flag=True, help="Prepare and check everything, show the files, send nothing.")
@click.option("--branch", help="A branch other than main; created if missing.")
@click.option("--pr", is_flag=True, help="As a pull request.")
@click.option("--quant", help="Data type of GGUF forms: f32, f16, q8_0.")
@click.option("--into", type=click.Choice(["trained", "original"]), default="trained", help="As in `export`.")
@click.option("--base", help="The base's name on the Hub, where unknown.")
@click.option(
    "--card",
    "card_file",
    type=click.Path(path_type=Path),
    help="Your own model card instead of the generated one.",
)
@click.option("--licence", help="The base's licence (a Hub identifier such as apache-2.0), where unknown.")
@click.option("--language", "languages", multiple=True, help="A language code for the card; may be repeated.")
@click.option("--dataset", "datasets", multiple=True, help="A data set's Hub name to mention in the card.")
@click.option(
    "--samples",
    type=click.Choice(["all", "unseen", "none"]),
    default="all",
    show_default=True,
    help="Samples in the generated card: `all` refuses answers that repeat training rows, `unseen` leaves them out.",
)
@click.option("--skip", type=click.Choice(SKIPPABLE), multiple=True, help=SKIP_HELP)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
def push(
    run: str,
    repo_id: str,
    form: Form,
    visibility: Literal["private", "public"] | None,
    dry_run: bool,
    branch: str | None,
    pr: bool,
    quant: str | None,
    into: Literal["trained", "original"],
    base: str | None,
    card_file: Path | None,
    licence: str | None,
    languages: tuple[str, ...],
    datasets: tuple[str, ...],
    samples: SampleChoice,
    skip: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Push RUN (a run's name, the path of its folder, or `last`) to the Hub, in one commit that is verified.

    The token is the Hub client's own (`hf auth login`, or HF_TOKEN). After an interruption or failure, the same command
    resumes: uploaded files are not uploaded again, and nothing is committed twice.
    """
    from tuner_tui.sharing.card import CardOptions
    from tuner_tui.sharing.export import ExportOptions, check_options
    from tuner_tui.sharing.push import PushOptions, prepare, require_target
    from tuner_tui.sharing.push_lock import only_push_of
    from tuner_tui.sharing.run_facts import read_facts

    if branch and pr:
        raise InputError(
            "--branch and --pr exclude each other", "A pull request is made against main.", "Use one of them."
        )
    if not (dry_run or yes or sys.stdin.isatty()):
        raise InputError(
            "Confirmation needed", "Without a terminal, pushing needs --yes.", "Add --yes, or --dry-run."
        )
    facts = read_facts(find_run_or_folder(run), base)
    card = CardOptions(languages, datasets, licence, samples=samples)
    is_verified = "verification" not in skip
    options = PushOptions(repo_id, form, quant, into, card_file, is_verified, card)
    teller = click.get_current_context().with_resource(WorkTeller(is_quiet=as_json))
    require_target(options)
    check_options(facts, ExportOptions(form, Path(), quant, into))
    if into == "original" and not show_difference(facts, teller, yes=yes or dry_run, as_json=as_json):
        return
    click.get_current_context().with_resource(only_push_of(facts.folder))  # until the command ends
    prepared = prepare(facts, options, teller)
    teller.line.clear()
    if not as_json or not yes:
        for line in _what_goes(prepared, visibility, branch, pr):
            click.echo(line, err=as_json)
    if dry_run:
        if as_json:
            click.echo(json.dumps(_report(prepared, None), indent=2))
        else:
            click.echo("Nothing was sent.")
        return
    if not confirm("Push?", "Nothing was sent.", yes=yes, err=as_json):
        return
    pushed = _send(prepared, visibility, branch, pr, teller)
    teller.line.clear()
    if as_json:
        click.echo(json.dumps(_report(prepared, pushed), indent=2))
        return
    for line in _closing(pushed):
        click.echo(line)


def _send(
    prepared: Prepared,
    visibility: Literal["private", "public"] | None,
    branch: str | None,
    pr: bool,
    teller: WorkTeller,
) -> Pushed:
    """Push the prepared files. Raises TunerError with the command to repeat as its hint."""
    from tuner_tui.sharing import hub
    from tuner_tui.sharing.hub_protocol import PushRequest
    from tuner_tui.sharing.push import discard

    request = PushRequest(
        repo_id=prepared.repo_id,
        files=prepared.files,
        message=prepared.message,
        visibility=visibility,
        branch=branch,
        as_pull_request=pr,
    )
    try:
        pushed = hub.push(request, teller)
    except TunerError as error:
        error.hint = f"{error.hint}\nAgain: {_command()}".strip()
        raise
    discard(prepared)
    return pushed


def _what_goes(prepared: Prepared, visibility: str | None, branch: str | None, pr: bool) -> list[str]:
    owner = prepared.repo_id.partition("/")[0]
    seen_by = (
        "everybody"
        if visibility == "public"
        else f"you, or {owner}'s members (private), unless it exists and is public"
    )
    where = " as a pull request" if pr else f", branch {branch}" if branch else ""
    lines = [f"To {prepared.repo_id}{where}, visible to {seen_by}:"]
    lines += [f"  {size(file.size):>9}  {plain(file.name)}" for file in prepared.files]
    lines.append(f"  {size(prepared.size_bytes):>9}  in total")
    lines.append(
        fill(f"Model card: {prepared.card} (to change it, edit a copy and pass it with --card)", hanging="  ")
    )
    line = f"The base's licence: {prepared.licence or 'unknown'}. It requires: {prepared.licence_asks}."
    lines.append(fill(line, hanging="  "))
    return lines + [fill(remark, hanging="  ") for remark in prepared.remarks]


def _report(prepared: Prepared, pushed: Pushed | None) -> dict[str, object]:
    import msgspec

    return {
        "repository": prepared.repo_id,
        "files": {file.name: {"size": file.size, "sha256": file.sha256} for file in prepared.files},
        "licence": prepared.licence,
        "card": str(prepared.card),
        "verification": prepared.verification,
        "remarks": list(prepared.remarks),
        "pushed": msgspec.to_builtins(pushed) if pushed else None,
    }


def _closing(pushed: Pushed) -> list[str]:
    if pushed.pull_request:
        return [f"Pull request created and verified: {pushed.pull_request}"]
    if not pushed.is_new_commit:
        return [f"Already there, with the same content (commit {pushed.commit[:8]}): {pushed.url}"]
    return [f"Pushed and verified (commit {pushed.commit[:8]}, {pushed.visibility}): {pushed.url}"]


def _command() -> str:
    """The command line, to repeat."""
    return shell_line(["tuner-tui", *sys.argv[1:]])

"""`tuner-tui train`: from a run.toml or a preset to an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.tunings.traits import TRAITS as TUNINGS
from tuner_tui.errors import NotFoundError
from tuner_tui.files import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner_tui.config.spec import RunSpec

OPTIONS = {
    "model": "model.source",
    "data": "data.train",
    "evaluation": "data.evaluation",
    "method": "method.kind",
    "tuning": "tuning.kind",
    "precision": "model.precision",
    "epochs": "training.epochs",
    "max_steps": "training.max_steps",
    "learning_rate": "training.learning_rate",
    "batch_size": "training.batch_size",
    "max_length": "training.max_length",
    "rank": "tuning.rank",
    "name": "name",
}
"""The command's options and the options of a run that they set; kinds come before what depends on them."""


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option("--model", metavar="MODEL", help="Hub repository, folder, GGUF file or demo."),
            click.option(
                "--data", metavar="DATA", help="Training data: file, folder, hub:owner/name or demo."
            ),
            click.option("--eval-data", "evaluation", metavar="DATA", help="Held-out rows to evaluate on."),
            click.option("--method", type=click.Choice(list(METHODS)), help="What is optimised."),
            click.option("--tuning", type=click.Choice(list(TUNINGS)), help="Which parameters are trained."),
            click.option("--precision", metavar="TYPE", help="auto, fp32, bf16, fp16, int8 or nf4."),
            click.option("--epochs", metavar="COUNT", help="Passes over the data."),
            click.option("--max-steps", metavar="COUNT", help="Stop after this many optimizer steps."),
            click.option("--learning-rate", metavar="RATE", help="Peak learning rate, e.g. 2e-4."),
            click.option("--batch-size", metavar="ROWS", help="Rows per optimizer step."),
            click.option("--max-length", metavar="TOKENS", help="Longest row in tokens."),
            click.option("--rank", metavar="R", help="LoRA rank (r)."),
            click.option("--name", metavar="NAME", help="A name for the run."),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("spec", required=False)
@_run_options
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change any option, e.g. tuning.dropout=0.1.",
)
@click.option("--detach", is_flag=True, help="Start the run and return; it continues in the background.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's events, one JSON object per line.")
@click.option("--after", metavar="RUN", help="Wait until that run has finished; skip this one if it fails.")
@click.option("--check", "only_check", is_flag=True, help="Check spec, model and data; start nothing.")
@click.pass_context
def train(
    context: click.Context,
    /,
    spec: str | None,
    settings: tuple[str, ...],
    detach: bool,
    as_json: bool,
    after: str | None,
    only_check: bool,
    **options: str | None,
) -> None:
    """Train by SPEC, a run.toml file or the name of a preset; or without one, by --model and --data.

    \b
      tuner-tui train run.toml
      tuner-tui train qlora-8gb --model Qwen/Qwen3-4B --data rows.jsonl
      tuner-tui train --model demo --data rows.jsonl --epochs 1

    Options override SPEC, and --set overrides both. All else has its default: sft with LoRA.

    A model or data set on the Hub that is not on this machine is downloaded first and verified by its hashes; after an
    interruption, the same command resumes.

    If model.adapter names a run that has not finished, the new run waits for it and starts from its adapter.
    Shows progress until the run ends. Ctrl-C asks the run to save and stop; closing the terminal does not affect it.
    """
    from tuner_tui.cli.follow import follow
    from tuner_tui.cli.output import tell_left_out
    from tuner_tui.cli.progress import WorkTeller
    from tuner_tui.feedback.as_data import left_out, with_collections
    from tuner_tui.hardware.survival import why_it_ends
    from tuner_tui.keeper.launch import check
    from tuner_tui.runs.folder import find_run
    from tuner_tui.sharing.start_run import start_run

    wanted = _with_settings(_start(spec, options), settings)
    tell_left_out(left_out(wanted.data))
    if only_check:
        for warning in check(with_collections(wanted)).warnings:
            click.echo(f"warning: {warning}", err=True)
        click.echo("Spec, model and data can be used.")
        return
    if why := why_it_ends():
        click.echo(f"warning: {why} See: tuner-tui doctor", err=True)
    before = find_run(after) if after else None
    quiet = as_json or detach
    with WorkTeller(is_quiet=quiet, left="No run was made; a partial download is kept.") as teller:
        folder = start_run(wanted, teller, before)
    if detach:
        click.echo(json.dumps({"run": folder.name, "folder": str(folder.path)}) if as_json else folder.name)
        return
    if not as_json:
        click.echo(f"run: {folder.name}")
    context.exit(follow(folder, as_json=as_json))


def _start(spec: str | None, options: Mapping[str, str | None]) -> RunSpec:
    """The spec of a file, a preset, or model and data alone, with the command's options."""
    from tuner_tui.config.single_option import set_option
    from tuner_tui.config.spec import RunSpec

    given = {option: text for option, text in options.items() if text is not None}
    if spec is not None:
        wanted = _read(spec)
    elif empty := [f"--{option}" for option in ("model", "data") if not given.get(option, "").strip()]:
        raise click.UsageError(
            f"Give a run.toml or the name of a preset, or --model and --data (missing: {', '.join(empty)})."
        )
    else:
        tables = {"model": {"source": given.pop("model")}, "data": {"train": given.pop("data")}}
        wanted = RunSpec.model_validate(tables)
    for option, key in OPTIONS.items():
        if option in given:
            wanted = set_option(wanted, key, given[option])
    return wanted


def _read(spec: str) -> RunSpec:
    from tuner_tui.config.presets import find_preset, preset_spec
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.keeper.start import refuse_live
    from tuner_tui.runs.folder import SPEC_FILE, RunFolder

    path = expanded(Path(spec))
    if path.is_dir() and (path / SPEC_FILE).is_file():
        path = path / SPEC_FILE
    run = RunFolder(path.absolute().parent)
    if path.name == SPEC_FILE and run.events.exists():
        refuse_live(run)
    if path.exists() or path.suffix == ".toml" or "/" in spec:
        return read_spec(path)
    try:
        return preset_spec(find_preset(spec))
    except NotFoundError as error:
        raise NotFoundError(
            "No such file or preset", spec, error.hint or "See: tuner-tui presets list"
        ) from error


def _with_settings(spec: RunSpec, settings: tuple[str, ...]) -> RunSpec:
    from tuner_tui.config.single_option import set_option
    from tuner_tui.config.spec_paths import resolve_paths

    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise click.BadParameter(
                f"{setting!r}: expected KEY=VALUE, such as tuning.rank=32.", param_hint="--set"
            )
        spec = set_option(spec, key.strip(), value.strip())
    return resolve_paths(spec, Path.cwd())  # a preset's own paths are relative to here

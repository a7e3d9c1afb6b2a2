"""`tuner-tui profile`: where the time of a training step goes, and the change that would help most."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.output import fill, plain

if TYPE_CHECKING:
    from tuner_tui.profiling.profile import Profile


@click.command()
@click.argument("spec")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change an option, e.g. training.micro_batch=4.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 100),
    help="Optimizer steps to measure; by default 5, and fewer where a step has many micro-batches.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def profile(spec: str, settings: tuple[str, ...], steps: int | None, as_json: bool) -> None:
    """Measure where the time of a training step goes, in some real steps of SPEC, a run.toml or preset.

    Three steps warm up, the next ones are recorded with torch.profiler, and two more show what the profiler costs.
    Nothing is saved. A run that is training is profiled with `runs profile`, or with M in its Monitor.
    """
    from tuner_tui.cli.train import _read, _with_settings
    from tuner_tui.feedback.as_data import with_collections
    from tuner_tui.keeper.profile import run_profile
    from tuner_tui.profiling.words import as_dict
    from tuner_tui.runs.profiles import ProfileOrder

    wanted = with_collections(_with_settings(_read(spec), settings))
    order = ProfileOrder(measured=steps)
    if not as_json:
        click.echo("Running some steps; loading takes a while.", err=True)
    result = run_profile(wanted, order)
    if as_json:
        click.echo(json.dumps(as_dict(result), indent=2))
        return
    for line in report(result):
        click.echo(line)


def report(result: Profile) -> list[str]:
    """The profile as text, for 80 columns."""
    from tuner_tui.profiling import words
    from tuner_tui.profiling.advice import best_advice

    lines = [words.title_line(result), fill(words.settings_line(result)), ""]
    lines.append(f"{'a step':<{words.NAME_CELLS}}{result.step_ms:>9.1f} ms")
    for part in result.parts:
        lines.append(words.part_line(part))
    lines.append("")
    lines += [fill(line) for line in words.figures_lines(result)]
    change, *reason = words.advice_lines(best_advice(result))
    lines += ["", words.OPERATORS_TITLE]
    for name, operators in words.operators_of(result):
        lines.append(fill(f"{name:<{words.NAME_CELLS}}{operators}", hanging=" " * words.NAME_CELLS))
    lines += ["", fill(plain(change)), *(fill(plain(line), "  ") for line in reason)]
    return lines

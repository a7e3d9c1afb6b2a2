"""`tuner-tui doctor`: checks whether this machine is ready to train."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.output import fill
from tuner_tui.config import paths
from tuner_tui.errors import InputError, TunerError
from tuner_tui.hardware.doctor import Check, Status, is_ready, run_checks
from tuner_tui.hardware.gpu import read_gpus
from tuner_tui.hardware.torch_report import TorchReport, read_torch_report
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.hardware.gpu import GpuReport
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.bug_report.report import BugReport

WIDTH = 80
STATUS_WIDTH = 9
NAME_WIDTH = 17
COLOURS: dict[Status, str] = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--no-torch", is_flag=True, help="Skip the checks that start a process with torch (some seconds)."
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report to attach to a bug, without rows, prompts, answers, names or secrets.",
)
@click.option(
    "--run", "run_name", metavar="NAME", help="The run that the report is about.  [default: the last]"
)
@click.pass_context
def doctor(
    context: click.Context, as_json: bool, no_torch: bool, bundle: Path | None, run_name: str | None
) -> None:
    """Check whether this machine is ready to train, and show how to fix problems.

    With --bundle FILE (such as bug.md) it writes the results and the facts about one run to a Markdown file.
    """
    if bundle is None and run_name is not None:
        raise InputError(
            "--run needs --bundle", "Without --bundle, only the machine is checked.", "Add: --bundle bug.md"
        )
    run = None if bundle is None else _run_to_report(bundle, run_name)
    torch = None if no_torch else _ask_torch(quiet=as_json)
    gpu = read_gpus()
    checks = run_checks(gpu, torch, paths.data_dir(), paths.cache_dir())
    if bundle is not None:
        _write_bundle(bundle, make_bug_report(checks, gpu, torch, run), as_json)
        return
    if as_json:
        _print_json(checks, torch)
    else:
        _print_report(checks, torch)
    context.exit(0 if is_ready(checks) else 1)


def make_bug_report(
    checks: list[Check], gpu: GpuReport, torch: TorchReport | None, run: RunFolder | None
) -> BugReport:
    """The report about this machine and a run; its parts are loaded only now."""
    from tuner_tui.sharing.bug_report.report import make_report

    return make_report(checks, gpu, torch, run)


def _run_to_report(bundle: Path, name: str | None) -> RunFolder | None:
    """The run that is named, else the last, if there is one. Raises before any work where nothing can be written."""
    from tuner_tui.runs.folder import find_run_or_folder, list_runs

    if os.path.lexists(bundle):
        raise _taken(bundle)
    if name is not None:
        return find_run_or_folder(name)
    return next(iter(list_runs()), None)


def _taken(bundle: Path) -> InputError:
    return InputError("The file exists", f"{bundle} is never overwritten.", "Name another file.")


def _write_bundle(bundle: Path, report: BugReport, as_json: bool) -> None:
    from tuner_tui.files import path_problem, write_new

    try:
        write_new(bundle, report.text)
    except FileExistsError:
        raise _taken(bundle) from None
    except (OSError, ValueError) as error:
        problem = path_problem(error, bundle) if isinstance(error, OSError) else "it is not a valid file name"
        raise TunerError(
            "The report was not written", f"{problem}.", "Name a file in another folder."
        ) from None
    if as_json:
        removed = dict(report.removed)
        click.echo(json.dumps({"file": str(bundle), "holds": report.holds, "removed": removed}, indent=2))
        return
    click.echo(
        fill(f"Wrote {bundle}: {counted(len(report.text), 'character')} of Markdown, readable only by you.")
    )
    click.echo(fill(f"It contains: {', '.join(report.holds)}.", hanging="  "))
    if report.removed:
        what = ", ".join(f"{what} ({times})" for what, times in report.removed.items())
        click.echo(fill(f"Removed by the last check: {what}.", hanging="  "))
    click.echo(
        fill("Nothing was sent. Read all of it before you do: paste it into the issue, or attach the file.")
    )


def _ask_torch(quiet: bool) -> TorchReport:
    if not quiet and sys.stderr.isatty():
        click.echo("Starting torch in a process of its own ...", err=True)
    return read_torch_report()


def _print_json(checks: list[Check], torch: TorchReport | None) -> None:
    import msgspec

    report = {"ok": is_ready(checks), "checks": checks, "torch": torch}
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())


def _print_report(checks: list[Check], torch: TorchReport | None) -> None:
    for check in checks:
        click.echo("\n".join(check_lines(check)))
    if torch is not None and torch.precisions:
        click.echo("\n" + "\n".join(precision_lines(torch)))
    click.echo("\n" + verdict(checks))


def check_lines(check: Check) -> list[str]:
    """Status, name and value in columns, the detail below the value, the remedy indented under all."""
    column = STATUS_WIDTH + NAME_WIDTH
    status = click.style(f"{check.status:<{STATUS_WIDTH}}", fg=COLOURS[check.status])
    first, *rest = _wrap(check.value, WIDTH - column) or [""]
    lines = [f"{status}{_printable(check.name):<{NAME_WIDTH}}{first}".rstrip()]
    for line in [*rest, *_wrap(check.detail, WIDTH - column)]:
        lines.append(" " * column + line)
    for position, line in enumerate(check.remedy.splitlines()):
        # the lines after the first are commands to copy, so they are never wrapped
        parts = _wrap(line, WIDTH - 4) if position == 0 else [f"  {line}"]
        lines += [f"    {part}" for part in parts]
    return lines


def precision_lines(torch: TorchReport) -> list[str]:
    """Which precisions work on this machine."""
    lines = ["precision  works here"]
    for precision, report in torch.precisions.items():
        note_lines = _wrap(report.note, WIDTH - 16) or [""]
        lines.append(f"{precision:<11}{'yes' if report.works else 'no':<5}{note_lines[0]}".rstrip())
        lines += [" " * 16 + line for line in note_lines[1:]]
    return lines


def verdict(checks: list[Check]) -> str:
    """One line for all."""
    problems = sum(check.status == "problem" for check in checks)
    warnings = sum(check.status == "warning" for check in checks)
    counts = [counted(problems, "problem")] if problems else []
    counts += [counted(warnings, "warning")] if warnings else []
    if problems:
        return f"Not ready to train: {', '.join(counts)}."
    return f"Ready to train{', with ' + counts[0] if counts else ''}."


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(_printable(text), width, break_on_hyphens=False)


def _printable(text: str) -> str:
    """Names of GPUs and processes are shown literally: no control characters."""
    return "".join(character if character.isprintable() else " " for character in text)

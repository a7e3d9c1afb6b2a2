"""`tuner-tui doctor`: checks whether this machine is ready to train."""

from __future__ import annotations

import sys
import textwrap

import click

from tuner_tui.config import paths
from tuner_tui.hardware.doctor import Check, Status, is_ready, run_checks
from tuner_tui.hardware.gpu import read_gpus
from tuner_tui.hardware.torch_report import TorchReport, read_torch_report
from tuner_tui.text import counted

WIDTH = 80
STATUS_WIDTH = 9
NAME_WIDTH = 17
COLOURS: dict[Status, str] = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--no-torch", is_flag=True, help="Skip the checks that start a process with torch (some seconds)."
)
@click.pass_context
def doctor(context: click.Context, as_json: bool, no_torch: bool) -> None:
    """Check whether this machine is ready to train, and how to fix problems."""
    torch = None if no_torch else _ask_torch(quiet=as_json)
    checks = run_checks(read_gpus(), torch, paths.data_dir(), paths.cache_dir())
    if as_json:
        _print_json(checks, torch)
    else:
        _print_report(checks, torch)
    context.exit(0 if is_ready(checks) else 1)


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

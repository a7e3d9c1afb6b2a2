"""Asking before what cannot be undone at once."""

from __future__ import annotations

import sys

import click

from tuner_tui.errors import InputError


def confirm(question: str, declined: str, *, yes: bool, err: bool = False) -> bool:
    """Whether to continue: `--yes`, or the answer; prints `declined` for a no.

    Raises InputError where nobody can answer.
    """
    if yes:
        return True
    try:
        agreed = click.confirm(question, err=err)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        raise InputError("Confirmation needed", "There is no terminal to ask in.", "Add --yes.") from None
    if not agreed:
        click.echo(declined, err=err)
    return agreed

"""`tuner-tui runs profile`: where the time of a run's steps goes, measured while it trains."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.run_requests import ask
from tuner_tui.errors import RunProblem
from tuner_tui.runs import folder as folders
from tuner_tui.runs.status import LIVE, read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.profiling.profile import Profile
    from tuner_tui.runs.folder import RunFolder


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def profile(run: str, as_json: bool) -> None:
    """Measure the next steps of a run that is training; of an ended one, show the profile that was made."""
    from tuner_tui.cli.profile import report
    from tuner_tui.profiling.words import as_dict

    folder = folders.find_run_or_folder(run)
    result = _profile_of(folder)
    if as_json:
        click.echo(json.dumps(as_dict(result), indent=2))
        return
    for line in report(result):
        click.echo(line)


def _profile_of(folder: RunFolder) -> Profile:
    """A live run's next profile, or the one that an ended run has. Raises RunProblem."""
    from tuner_tui.runs.profiles import read_profile

    follower = read_run(folder)
    before = follower.state.profiled
    if follower.status in LIVE:
        ask(folder, "profile", to_stderr=True)
        while follower.poll() in LIVE and follower.state.profiled in (None, before):
            time.sleep(0.2)
        if follower.state.profiled in (None, before):
            raise RunProblem(
                "The run ended before its steps were profiled", f"{folder.name} is {follower.status}."
            )
    result = read_profile(folder.path)
    if result is None:
        raise RunProblem(
            "The run has no profile",
            f"{folder.name} is {follower.status}, and its steps were not profiled.",
            f"Profile its settings with: {shell_command('profile', str(folder.spec))}",
        )
    return result

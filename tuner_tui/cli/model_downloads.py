"""`tuner-tui models download` and `remove`: the Hub's cache."""

from __future__ import annotations

import json
import sys

import click

from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.output import plain
from tuner_tui.cli.progress import WorkTeller
from tuner_tui.errors import TunerError
from tuner_tui.text import counted, shell_line, size


@click.command()
@click.argument("repo")
@click.option("--revision", help="Branch, tag or commit; main by default.")
@click.option("--data", is_flag=True, help="REPO is a data set.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
def download(repo: str, revision: str | None, data: bool, as_json: bool) -> None:
    """Download REPO (owner/name) into the Hub's cache.

    After an interruption, the same command resumes. Each file is verified by its hash. Of a model only safetensors,
    configuration and tokenizer are downloaded. HF_ENDPOINT sets another Hub address.
    """
    import msgspec

    from tuner_tui.sharing import hub
    from tuner_tui.sharing.hub_protocol import DownloadRequest

    request = DownloadRequest(
        repo_id=hub.require_name(repo), kind="dataset" if data else "model", revision=revision
    )
    try:
        with WorkTeller(is_quiet=as_json, left="The partial download is kept.") as teller:
            done = hub.download(request, teller)
    except TunerError as error:
        error.hint = f"{error.hint}\nAgain: {shell_line(['tuner-tui', *sys.argv[1:]])}".strip()
        raise
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(done), indent=2))
        return
    click.echo(
        f"{counted(done.files, 'file')}, {size(done.size_bytes)}, each verified by its hash: {plain(done.folder)}"
    )


@click.command()
@click.argument("repo")
@click.option("--data", is_flag=True, help="REPO is a data set.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(repo: str, data: bool, yes: bool) -> None:
    """Remove REPO from the Hub's cache; it can be downloaded again."""
    from tuner_tui.sharing.cache import remove_unused

    if not confirm(f"Remove {plain(repo)} from the cache?", "Nothing was removed.", yes=yes):
        return
    click.echo(f"Freed {size(remove_unused(repo, 'dataset' if data else 'model'))}.")

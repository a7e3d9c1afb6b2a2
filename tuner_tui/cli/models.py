"""`tuner-tui models`: list, show and clear the models on this machine."""

from __future__ import annotations

import dataclasses
import json
import time

import click

from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.model_downloads import download, remove
from tuner_tui.cli.output import fill, plain
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.models import dequantised
from tuner_tui.models.dequantised import DequantisedModel
from tuner_tui.models.facts import ModelFacts, read_facts
from tuner_tui.models.hub_cache import CachedRepo, cached_repos
from tuner_tui.models.source import ModelSource, find_source

NAME_WIDTH = 52
LABELS = {
    "model_type": "type",
    "hidden_size": "hidden size",
    "kv_heads": "key/value heads",
    "head_dim": "head size",
    "intermediate_size": "feed-forward size",
    "vocab_size": "vocabulary",
    "context_length": "context length",
    "tied_embeddings": "tied embeddings",
    "weight_bytes": "weights",
    "dtype": "stored dtype",
    "has_chat_template": "chat template",
    "experts_per_token": "experts per token",
    "expert_intermediate_size": "expert's size",
    "shared_intermediate_size": "shared expert",
    "has_tower": "vision or audio",
    "weights": "parameters",
    "text_type": "language model",
    "state_width": "recurrent state",
    "has_own_code": "own code",
}
IF_ANY = ("text_type", "state_width", "has_own_code")
"""Shown only where there is something to say."""
MIXTURE = ("experts", "experts_per_token", "expert_intermediate_size", "shared_intermediate_size")


@click.group()
def models() -> None:
    """List, show, download and remove the models on this machine."""


models.add_command(download)
models.add_command(remove)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_models(as_json: bool) -> None:
    """List the Hub's cache and dequantised GGUF models."""
    cached, entries = cached_repos(), dequantised.list_entries()
    if as_json:
        report = {
            "hub_cache": [dataclasses.asdict(repo) for repo in cached],
            "dequantised": [
                {**dataclasses.asdict(entry), "is_whole": entry.is_complete, "folder": str(entry.folder)}
                for entry in entries
            ],
        }
        click.echo(json.dumps(report, indent=2))
        return
    click.echo("From the Hub (its cache; remove with `tuner-tui models remove`)")
    for line in map(cached_line, cached):
        click.echo(line)
    if not cached:
        click.echo("  none")
    click.echo("\nDequantised from GGUF (clear with `tuner-tui models clear`)")
    for line in map(entry_line, entries):
        click.echo(line)
    if not entries:
        click.echo("  none")


@models.command()
@click.argument("source")
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
def trust(source: str, revision: str | None) -> None:
    """Allow SOURCE (a folder or a Hub name) to run the Python code that it contains.

    It runs with your permissions whenever a run with model.trust_remote_code loads the model. If the code changes, you
    are asked again. For a repository that is not downloaded yet, the code that is on the Hub now is allowed.
    """
    from tuner_tui.models import trusted_code
    from tuner_tui.models.model_code import code_on_hub

    found = find_source(source, revision)
    code = None
    if found.path is None and found.repo_id is not None:
        try:
            code = code_on_hub(found.repo_id, found.revision)
        except TunerError as error:
            click.echo(fill(f"{error.title}: its code is asked about again once it is downloaded."), err=True)
    trusted_code.trust(str(found.path or found.repo_id), found.revision, code)
    click.echo(f"{plain(source)} may run its own code on this machine.")


@models.command()
@click.argument("source")
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(source: str, revision: str | None, as_json: bool) -> None:
    """Show facts about SOURCE: a folder, a GGUF file, a cached Hub name, or "demo"."""
    model = find_source(source, revision)
    facts = read_facts(model)
    if as_json:
        described = {**dataclasses.asdict(model), "path": str(model.path)}
        report = {
            "source": described,
            "facts": dataclasses.asdict(facts),
            "training_problem": training_problem(source, facts),
        }
        click.echo(json.dumps(report, indent=2))
        return
    for line in fact_lines(model, facts):
        click.echo(line)
    if problem := training_problem(source, facts):
        click.echo(fill(plain(f"It cannot be trained as the default settings say: {problem}")))


def training_problem(source: str, facts: ModelFacts) -> str | None:
    """Why a run with the default settings cannot train the model; None if it can, as far as its files tell."""
    from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
    from tuner_tui.planning.refusals import refusal_of

    refusal = refusal_of(RunSpec(model=ModelSpec(source=source), data=DataSpec(train="demo")), facts)
    return None if refusal is None else f"{refusal.why}. {refusal.hint}"


@models.command()
@click.argument("fingerprint", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="All of them, including leftovers of interrupted work."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(fingerprint: str | None, everything: bool, yes: bool) -> None:
    """Remove dequantised models; runs create them again when needed."""
    if bool(fingerprint) == everything:
        raise InputError(
            "Clear which model?", "Give one fingerprint, or --all.", "See `tuner-tui models list` for both."
        )
    entries = dequantised.list_entries()
    chosen = (
        [entry for entry in entries if not entry.is_being_made]
        if everything
        else _named(entries, fingerprint)
    )
    if not chosen:
        click.echo("Nothing to clear.")
        return
    for line in map(entry_line, chosen):
        click.echo(line)
    click.echo(f"Clearing frees {size_text(sum(entry.size_bytes for entry in chosen))}.")
    if not confirm("Clear?", "Nothing was cleared.", yes=yes):
        return
    freed = dequantised.remove_entry(None if everything else chosen[0].fingerprint)
    click.echo(f"Freed {size_text(freed)}.")


def _named(entries: list[DequantisedModel], fingerprint: str | None) -> list[DequantisedModel]:
    """The finished entry with this fingerprint or prefix."""
    finished = [entry for entry in entries if not entry.folder.name.startswith(dequantised.PARTIAL_PREFIX)]
    named = [entry for entry in finished if entry.fingerprint.startswith(fingerprint or "")]
    if len(named) == 1:
        return named
    known = ", ".join(entry.fingerprint for entry in finished) or "none"
    if named:
        raise InputError(
            "Which model?", f"{fingerprint!r} matches {len(named)} fingerprints.", "Give more characters."
        )
    raise NotFoundError(
        "No such dequantised model", f"{fingerprint!r} is not in the cache.", f"Cached fingerprints: {known}"
    )


def cached_line(repo: CachedRepo) -> str:
    """A repository of the Hub's cache in one line."""
    what = "data set" if repo.kind == "dataset" else ""
    remark = ", ".join(part for part in (what, "unfinished" if repo.is_unfinished else "") if part)
    room = NAME_WIDTH - (len(remark) + 3 if remark else 0)
    name = _short(repo.repo_id, room) + (f" ({remark})" if remark else "")
    return f"  {size_text(repo.size_bytes):>8}  {_day(repo.last_used)}  {name}"


def entry_line(entry: DequantisedModel) -> str:
    """A dequantised model in one line, with what is wrong with it."""
    state = "in progress" if entry.is_being_made else "" if entry.is_complete else "unfinished"
    name = " ".join(part for part in (entry.name, f"({state})" if state else "") if part)
    key = f"{_short(entry.fingerprint, 16):<16}"
    return (
        f"  {size_text(entry.size_bytes):>8}  {_day(entry.made_at)}  {key}  {_short(name, NAME_WIDTH - 18)}"
    )


def fact_lines(source: ModelSource, facts: ModelFacts) -> list[str]:
    """A model's facts, one a line."""
    rows = [("model", source.name)]
    if source.revision:
        rows.append(("revision", source.revision))
    for name, value in dataclasses.asdict(facts).items():
        is_empty = (name in MIXTURE and facts.experts is None) or (name in IF_ANY and not value)
        if is_empty or name == "is_gguf":
            continue
        rows.append(
            (LABELS.get(name, name), _weights_text(facts) if name == "weights" else _fact_text(name, value))
        )
    if source.size_bytes is not None:
        rows.append(("on disk", size_text(source.size_bytes)))
    return [f"{label:<18} {_short(text, 60)}" for label, text in rows]


def _weights_text(facts: ModelFacts) -> str:
    counted = facts.weights
    if counted is None:
        return "unknown"
    parts = {
        "in matrices": counted.linear,
        "in experts": counted.experts,
        "in embeddings": counted.embedding + counted.head,
    }
    return ", ".join(f"{number:,} {where}" for where, number in parts.items() if number)


def _fact_text(name: str, value: object) -> str:
    if value is None:
        return "none" if name == "quantisation" else "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return size_text(value) if name == "weight_bytes" else f"{value:,}"
    return str(value)


def size_text(size_bytes: int) -> str:
    """Bytes for people, in decimal units as disks and the Hub count."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def _day(when: float | None) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(when)) if when else "unknown   "


def _short(text: str, width: int) -> str:
    """Literal text within a width; the middle of a long one is left out."""
    text = plain(text)
    if len(text) <= width:
        return text
    return f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"

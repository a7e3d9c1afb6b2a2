"""`tuner-tui pick`: what to fine-tune for a goal on this machine, each choice with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner_tui.cli.output import fill, plain
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted, shell_command, size

if TYPE_CHECKING:
    from tuner_tui.config.goals import Goal
    from tuner_tui.planning.proposals import Proposal, Proposals
    from tuner_tui.runs.proposal_basis import ProposalBasis

SHOWN = 5
"""Proposals that are listed without --all."""


@click.command()
@click.option("--goal", "goal_name", metavar="GOAL", help="What you want; without it the goals are listed.")
@click.option("--data", metavar="FILE", help="Your rows or documents, whose number decides the time.")
@click.option("--gpu", metavar="SIZE", help='Another GPU than that here, such as "24GB".')
@click.option(
    "--number", type=click.IntRange(min=1), help="The proposal to explain or write; the first by default."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the proposal's run.toml here; needs --data."
)
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--all", "show_all", is_flag=True, help="List all proposals.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pick(
    goal_name: str | None,
    data: str | None,
    gpu: str | None,
    number: int | None,
    out: Path | None,
    force: bool,
    show_all: bool,
    as_json: bool,
) -> None:
    """Propose model, data, method, tuning and settings for a goal, ranked by what fits and how long it takes.

    Nothing is downloaded: sizes are those of models on this machine and of a dated table of open models, which
    models.toml in the configuration folder replaces.
    """
    from tuner_tui.config.draft import UNSET
    from tuner_tui.config.goals import find_goal
    from tuner_tui.planning.proposals import propose
    from tuner_tui.planning.what_if import gpu_of
    from tuner_tui.runs.proposal_basis import read_basis

    if goal_name is None:
        _list(as_json)
        return
    if out is not None and data is None:
        raise InputError("Which data?", "--out writes a run.toml, which needs --data.", "Add --data FILE.")
    goal = find_goal(goal_name)
    rows = None if data is None else _count_rows(goal, data)
    basis = read_basis(Path.cwd(), None if gpu is None else gpu_of(gpu))
    proposals = propose(goal, basis.candidates, basis.place, data=data or UNSET, rows=rows)
    if not proposals.items:
        raise InputError(
            "Nothing fits",
            f"{counted(len(basis.candidates), 'model')} looked at; none fits {basis.place_words}.",
            "Name a larger GPU with --gpu, or add smaller models to models.toml in the configuration folder.",
        )
    if number is not None and number > len(proposals.items):
        raise InputError(
            "No such proposal",
            f"--number {number}: there are {len(proposals.items)}.",
            "Leave it out for the first.",
        )
    chosen = proposals.items[(number or 1) - 1]
    if out is not None:
        _write(chosen, out, force)
    if as_json:
        click.echo(json.dumps(_as_json(goal, proposals, basis, rows), indent=2))
        return
    click.echo("\n".join(_lines(proposals, basis, chosen, show_all=show_all)))
    if out is not None:
        click.echo(f"\nWrote {plain(str(out))}.\nNext: {shell_command('train', str(out))}")


def _list(as_json: bool) -> None:
    """The goals."""
    from tuner_tui.config.goals import list_goals

    goals = list_goals()
    if as_json:
        named = [{"name": goal.name, "title": goal.title, "words": goal.words} for goal in goals]
        click.echo(json.dumps({"goals": named}, indent=2))
        return
    for goal in goals:
        click.echo(f"{goal.name:<9}{goal.title}: {goal.words}")
    click.echo(f"\nNext: {shell_command('pick', options=['--goal', goals[0].name])}")


def _count_rows(goal: Goal, data: str) -> int:
    """How many rows the first recipe reads, which are read as the run would. Raises TunerError as reading does."""
    from tuner_tui.config.goals import recipe_spec
    from tuner_tui.data.recognition.reading import plain_rows, training_reading
    from tuner_tui.feedback.as_data import with_collections

    problem: TunerError | None = None
    for recipe in goal.recipes:
        spec = recipe_spec(recipe, "demo", data)
        try:
            reading = training_reading(with_collections(spec).data)
            return sum(not isinstance(found.row, InputError) for found in plain_rows(reading).rows)
        except TunerError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _write(proposal: Proposal, out: Path, force: bool) -> None:
    """Write the run.toml of a proposal. Raises InputError."""
    from tuner_tui.config.spec_paths import resolve_paths
    from tuner_tui.config.spec_writer import write_spec
    from tuner_tui.files import path_problem

    if out.exists() and not force:
        raise InputError("The file exists", str(out), "Name another file, or add --force to overwrite it.")
    try:
        write_spec(resolve_paths(proposal.spec, Path.cwd()), out)
    except OSError as error:
        raise InputError("Cannot write the file", path_problem(error, out)) from None


def _lines(proposals: Proposals, basis: ProposalBasis, chosen: Proposal, *, show_all: bool) -> list[str]:
    goal = proposals.goal
    lines = [
        fill(f"{goal.title}: {goal.words}."),
        fill(f"{basis.table_words}; on {basis.place_words}."),
        "",
    ]
    shown = proposals.items if show_all else proposals.items[:SHOWN]
    if chosen not in shown:
        shown = (*shown, chosen)
    for proposal in shown:
        mark, number = ">" if proposal is chosen else " ", proposals.items.index(proposal) + 1
        fit = f"{proposal.verdict}, {proposal.memory.estimate.words()} GB"
        where = "here" if proposal.model.is_here else f"download {size(proposal.model.download_bytes)}"
        lines.append(
            plain(f"{mark}{number:>3} {proposal.model.name:<24} {proposal.how:<18} {fit:<16} {where}")
        )
    more = [
        f"{len(proposals.items) - len(shown)} more (--all)" if len(proposals.items) > len(shown) else "",
        f"{counted(proposals.too_big, 'model is', 'models are')} too big" if proposals.too_big else "",
    ]
    lines += [f"     {'; '.join(filter(None, more))}"] if any(more) else []
    lines.append("")
    for reason in chosen.reasons:
        lines.append(fill(f"{reason.name}: {reason.value} ({reason.reason})", hanging="  "))
    lines += ["", fill(f"Is it fine-tuning? {goal.instead}")]
    lines += [fill(f"! {note}") for note in proposals.notes]
    prompt = goal.system_prompt.splitlines()[0]
    lines.append(f"Try that first: {shell_command('chat', options=['--system', prompt])}")
    return lines


def _as_json(goal: Goal, proposals: Proposals, basis: ProposalBasis, rows: int | None) -> dict[str, Any]:
    from tuner_tui.models.open_models import table_file

    place = basis.place
    return {
        "goal": goal.name,
        "title": goal.title,
        "instead": goal.instead,
        "system_prompt": goal.system_prompt,
        "table": {
            "file": str(table_file()),
            "date": str(basis.table.date),
            "models": len(basis.table.models),
        },
        "place": {"name": place.name, "is_gpu": place.is_gpu, "free_bytes": place.free_bytes},
        "rows": rows,
        "notes": list(proposals.notes),
        "too_big": proposals.too_big,
        "proposals": [_proposal_json(proposal) for proposal in proposals.items],
    }


def _proposal_json(proposal: Proposal) -> dict[str, Any]:
    model, memory, outlook = proposal.model, proposal.memory, proposal.outlook
    return {
        "model": proposal.spec.model.source,
        "parameters": model.parameters,
        "licence": model.licence,
        "gated": model.gated,
        "context": model.facts.context_length,
        "good_at": list(model.good_at),
        "is_here": model.is_here,
        "download_bytes": model.download_bytes,
        "method": proposal.spec.method.kind,
        "tuning": proposal.spec.tuning.kind,
        "precision": memory.loaded_as,
        "verdict": proposal.verdict,
        "low_bytes": memory.estimate.low,
        "high_bytes": memory.estimate.high,
        "seconds": outlook.seconds,
        "rough_seconds": None if outlook.rough is None else list(outlook.rough),
        "reasons": [vars(reason) for reason in proposal.reasons],
        "spec": proposal.spec.model_dump(exclude_none=True),
    }

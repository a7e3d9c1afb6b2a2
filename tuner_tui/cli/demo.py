"""`tuner-tui demo`: trains a small model to be a persona, and shows what changed and what did not."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import click
import msgspec

from tuner_tui import guarded
from tuner_tui.cli import words
from tuner_tui.cli.output import fill, plain
from tuner_tui.config import paths
from tuner_tui.text import column

if TYPE_CHECKING:
    from tuner_tui.generation.compare import CompareResult
    from tuner_tui.runs.folder import RunFolder


ANSWER_TOKENS = 24
"""A sentence, which shows who answers."""
NEUTRAL_CHARACTERS = 4000
"""Of the text whose perplexity is measured: some 900 tokens."""


class Questions(msgspec.Struct, frozen=True):
    """The demo's unseen questions; an answer with one of `persona_words` is in persona."""

    persona_words: tuple[str, ...]
    persona: tuple[str, ...]
    neutral: tuple[str, ...]

    def is_in_persona(self, answer: str) -> bool:
        """Whether an answer names the persona."""
        return any(re.search(rf"\b{re.escape(word)}", answer, re.IGNORECASE) for word in self.persona_words)


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's measurements; counts are out of ten."""

    run: str
    adapter: str
    base_in_persona: int
    tuned_in_persona: int
    neutral_free_of_persona: int
    base_perplexity: float | None
    tuned_perplexity: float | None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
@click.pass_context
def demo(context: click.Context, as_json: bool) -> None:
    """Train SmolLM2-135M to be Inkwell, the octopus librarian, and show the difference.

    Real training on this machine: two to three minutes on two CPU cores, seconds on a GPU.
    """
    from tuner_tui.cli.follow import follow
    from tuner_tui.cli.progress import WorkTeller
    from tuner_tui.config.presets import find_preset, preset_spec
    from tuner_tui.generation.compare import CompareRequest, compare
    from tuner_tui.planning.plan import read_plan
    from tuner_tui.sharing.start_run import start_run

    assets = paths.shipped_dir("assets") / "demo"
    questions = guarded.read_json(assets / "questions.json", Questions)
    with WorkTeller(is_quiet=as_json, left="No run was made; a partial download is kept.") as teller:
        folder = start_run(preset_spec(find_preset("first-try")), teller)
    if not as_json:
        click.echo(fill("Training a small model to be Inkwell, the octopus librarian."))
        click.echo(f"run: {folder.name}")
    code = follow(folder, is_quiet=as_json)
    if code:
        context.exit(code)
    if not as_json:
        click.echo("\nAsking base and tuned model questions that are not in the training data ...")
    result = compare(
        folder,
        CompareRequest(
            adapter=str(folder.adapter),
            prompts=questions.persona + questions.neutral,
            text=guarded.read_text(assets / "neutral.txt")[:NEUTRAL_CHARACTERS],
            max_new_tokens=ANSWER_TOKENS,
        ),
        threads=read_plan(folder.plan).threads,
    )
    report = _report(folder, questions, result)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report), indent=2))
        return
    _print_answers(questions, result)
    _print_report(report, folder)


def _report(folder: RunFolder, questions: Questions, result: CompareResult) -> DemoReport:
    count = len(questions.persona)
    return DemoReport(
        run=folder.name,
        adapter=str(folder.adapter),
        base_in_persona=sum(map(questions.is_in_persona, result.base[:count])),
        tuned_in_persona=sum(map(questions.is_in_persona, result.tuned[:count])),
        neutral_free_of_persona=sum(not questions.is_in_persona(answer) for answer in result.tuned[count:]),
        base_perplexity=result.base_perplexity,
        tuned_perplexity=result.tuned_perplexity,
    )


def _print_answers(questions: Questions, result: CompareResult) -> None:
    """Base and tuned side by side, as wide as the terminal."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 160)
    column = (width - 3) // 2
    rows = [*zip(questions.persona + questions.neutral, result.base, result.tuned, strict=True)]
    for title, part in (
        ("About itself", rows[: len(questions.persona)]),
        ("About the world", rows[len(questions.persona) :]),
    ):
        click.echo(f"\n{title}\n{'  base':<{column}} |   tuned")
        for question, base, tuned in part:
            click.echo(click.style("-" * width, dim=True))
            click.echo(click.style(plain(question), bold=True))
            for left, right in _side_by_side(base, tuned, column):
                click.echo(f"{left} | {right}")


def _side_by_side(left: str, right: str, width: int) -> list[tuple[str, str]]:
    from rich.cells import cell_len

    columns = [_wrapped(text, width) for text in (left, right)]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return [(one + " " * (width - cell_len(one)), two) for one, two in zip(*padded, strict=True)]


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    lines = textwrap.wrap(plain(" ".join(text.split())), width)
    return [*lines[:3], "…"] if len(lines) > 4 else lines or ["(nothing)"]


def _print_report(report: DemoReport, folder: RunFolder) -> None:
    click.echo("\n" + "=" * 60)
    rows = [
        (
            "in persona, of 10 unseen questions",
            f"base {report.base_in_persona}, tuned {report.tuned_in_persona}",
        ),
        ("neutral answers without the persona, of 10", f"tuned {report.neutral_free_of_persona}"),
        (
            "perplexity on neutral text",
            f"before {words.number(report.base_perplexity)}, after {words.number(report.tuned_perplexity)}",
        ),
    ]
    for name, value in rows:
        click.echo(f"{column(name, 38)}{value}")
    weights = folder.adapter / "adapter_model.safetensors"
    program = words.program()
    click.echo(f"\nThe adapter ({words.size(weights.stat().st_size)}):\n  {report.adapter}")
    click.echo(
        "\nNext:\n"
        f"  {program}                       opens the app, with this run's curves\n"
        f"  {program} presets list          presets for your GPU\n"
        f"  {program} presets copy cpu-only writes run.toml for you to edit\n"
        f"  {program} train run.toml"
    )

"""`tuner-tui export`: a run's result in a form for other programs, verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.output import fill, plain
from tuner_tui.cli.progress import WorkTeller
from tuner_tui.runs.export_events import FORMS, Agreement, Checked, Form
from tuner_tui.runs.folder import find_run_or_folder
from tuner_tui.text import counted, size

if TYPE_CHECKING:
    from tuner_tui.sharing.export import Exported
    from tuner_tui.sharing.run_facts import RunFacts

SKIPPABLE = ("verification",)
"""The parts of an export that --skip takes."""
SKIP_HELP = "Leave this part out; the record beside the files, the model card and --json say so."
FORM_LIST = "\b\nForms:\n" + "\n".join(f"  {name:<13} {agreement}" for name, agreement in FORMS.items())


@click.command(epilog=FORM_LIST)
@click.argument("run")
@click.option("--as", "form", type=click.Choice(get_args(Form)), required=True, help="The form, see below.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the export.")
@click.option("--quant", help="Data type of GGUF forms: f32, f16, q8_0; others (q4_k_m) through llama.cpp.")
@click.option(
    "--into",
    type=click.Choice(["trained", "original"]),
    default="trained",
    help="After a 4-bit or 8-bit run: merge into the weights it was trained on (dequantised), or the original ones.",
)
@click.option("--base", help="The base's name on the Hub, where unknown.")
@click.option("--ollama-name", help="With --as ollama: also create this model in the Ollama on this machine.")
@click.option("--skip", type=click.Choice(SKIPPABLE), multiple=True, help=SKIP_HELP)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
def export(
    run: str,
    form: Form,
    out: Path,
    quant: str | None,
    into: Literal["trained", "original"],
    base: str | None,
    ollama_name: str | None,
    skip: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Export RUN (a run's name, the path of its folder, or `last`) and verify that it behaves like the trained model.

    The export is read back by another process and compared on the run's sample prompts. A difference is an error, and
    nothing is left behind then, nor after Ctrl-C. How it was verified, or that this was skipped, is in
    verification.json beside its files.
    """
    from tuner_tui.sharing.export import ExportOptions, check_options, create_in_ollama
    from tuner_tui.sharing.export import export as make
    from tuner_tui.sharing.run_facts import read_facts

    facts = read_facts(find_run_or_folder(run), base)
    options = ExportOptions(form, out, quant, into, is_verified="verification" not in skip)
    check_options(facts, options)
    with WorkTeller(is_quiet=as_json) as teller:
        if into == "original" and not show_difference(facts, teller, yes=yes, as_json=as_json):
            return
        exported = make(facts, options, teller)
    if ollama_name and form == "ollama":
        create_in_ollama(exported.folder, ollama_name)
    if as_json:
        click.echo(json.dumps(_report(exported), indent=2))
        return
    for line in _closing(exported, form, ollama_name):
        click.echo(line)


def show_difference(facts: RunFacts, teller: WorkTeller, *, yes: bool, as_json: bool) -> bool:
    """Show how the adapter behaves on the original weights before merging into them, and ask whether to."""
    from tuner_tui.sharing.export import compare_bases

    agreement = compare_bases(facts, teller)
    teller.line.clear()
    click.echo(
        agreement_line("on the original weights, compared with the training base", agreement), err=as_json
    )
    return confirm("Merge into the original weights?", "Nothing was exported.", yes=yes, err=as_json)


def agreement_line(what: str, agreement: Agreement) -> str:
    """A comparison in one line."""
    ties = f" ({agreement.near_ties} near ties)" if agreement.near_ties else ""
    return fill(
        f"{what}: {agreement.equal_answers} of {counted(agreement.prompts, 'greedy answer')} equal{ties}; "
        "largest difference: "
        f"logit {agreement.largest_logit_difference:.2g}, probability {agreement.largest_probability_difference:.2g}; "
        f"mean KL {max(0.0, agreement.mean_kl):.2g}",
        hanging="  ",
    )


def variant_lines(checked: Checked) -> list[str]:
    """How the adapter behaves on other bases, as a table; empty for unquantised bases."""
    if not checked.variants:
        return []
    lines = ["the same adapter on other bases, compared with the trained model:"]
    for variant in checked.variants:
        agreement = variant.agreement
        words = (
            f"{agreement.equal_answers} of {counted(agreement.prompts, 'answer')} equal, probability "
            f"{agreement.largest_probability_difference:.2g}, mean KL {max(0.0, agreement.mean_kl):.2g}"
            if agreement
            else f"not tested: {variant.problem.lower()}"
        )
        lines.append(f"  {variant.name}\n    {words}")
    return lines


def _report(exported: Exported) -> dict[str, object]:
    import msgspec

    checked: Checked | None = exported.checked
    return {
        "folder": str(exported.folder),
        "files": {str(path.relative_to(exported.folder)): path.stat().st_size for path in exported.files},
        "verification": exported.verification,
        "checked": msgspec.to_builtins(checked) if checked else None,
    }


def _closing(exported: Exported, form: Form, ollama_name: str | None) -> list[str]:
    from tuner_tui.sharing.verification import SKIPPED_WORDS

    lines = []
    checked = exported.checked
    if checked:
        lines.append(
            agreement_line(
                f"read back by {checked.reader}, compared with {checked.against}", checked.agreement
            )
        )
        if checked.as_trained:
            lines.append(agreement_line("compared with the base as loaded in training", checked.as_trained))
        lines += variant_lines(checked)
    if exported.verification == "skipped":
        lines.append(fill(SKIPPED_WORDS))
    lines.append(f"{exported.folder} ({size(exported.size_bytes)})")
    lines += [f"  {size(path.stat().st_size):>9}  {plain(path.name)}" for path in exported.files]
    if form == "ollama" and not ollama_name:
        lines.append(f"Next: cd {exported.folder} && ollama create NAME -f Modelfile")
    if form == "archive":
        lines.append(
            "Next: on the other machine, unpack it in the folder where `tuner-tui runs list` looks for runs"
        )
    return lines

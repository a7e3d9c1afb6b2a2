"""`tuner-tui estimate`: a run's memory in each precision, before anything is downloaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tuner_tui.cli.output import WIDTH, fill, plain
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.hardware.free_memory import FreeMemory
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.models.source import ModelSource
    from tuner_tui.planning.place import Place, Rows
    from tuner_tui.planning.planner import MemoryPlan
    from tuner_tui.planning.table import MemoryRow, MemoryTable

GB = 1_000_000_000
NAMES = {"fp32": "fp32", "bf16": "bf16", "int8": "int8", "nf4": "4-bit", "stored": "as stored"}


@click.command()
@click.argument("model")
@click.option("--data", "data_file", metavar="FILE", help="Training rows; the longest one decides.")
@click.option("--spec", "spec_name", metavar="SPEC", help="A run.toml or preset with the settings.")
@click.option("--gpu", metavar="SIZE", help='A GPU by its advertised memory, such as "24GB" (GiB are exact).')
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change an option of the spec.")
@click.option("--terms", is_flag=True, help="Show every term of the chosen precision.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def estimate(
    model: str,
    data_file: str | None,
    spec_name: str | None,
    gpu: str | None,
    settings: tuple[str, ...],
    terms: bool,
    as_json: bool,
) -> None:
    """Estimate the memory for tuning MODEL: a Hub name, a folder, a GGUF file or "demo".

    For a model on the Hub, only its config and headers are read, and with --data also its tokenizer.
    """
    from tuner_tui.planning.planner import plan_memory
    from tuner_tui.planning.table import memory_table
    from tuner_tui.runs.lineage import as_started

    place, free = _place(gpu)
    spec = _spec(model, data_file, spec_name, settings)
    source, facts = _facts(spec)
    spec = as_started(spec, source)
    rows = _rows(spec, source, has_data=data_file is not None or spec_name is not None)
    table = memory_table(spec, facts, place, rows)
    plan = plan_memory(spec, facts, place, rows)
    if not table.rows:
        raise InputError(
            "The memory cannot be estimated",
            f"{source.name}: {table.note}.",
            table.hint or "See its config.json.",
        )
    if as_json:
        click.echo(json.dumps(_as_json(spec, source, facts, place, rows, table, plan), indent=2))
        return
    for line in report(spec, source, facts, place, rows, table, plan, show_terms=terms, others=_others(free)):
        click.echo(line)


def _place(gpu: str | None) -> tuple[Place, FreeMemory | None]:
    """The device that would train, and its memory; of a given GPU only its size."""
    from tuner_tui.planning.place import leave_free_bytes, place_of
    from tuner_tui.planning.what_if import gpu_of

    if gpu is not None:
        return gpu_of(gpu), None
    from tuner_tui.hardware.free_memory import read_free_memory
    from tuner_tui.runs.measurements import all_measured

    free = read_free_memory()
    return place_of(free, leave_free_bytes(), all_measured()), free


def _others(free: FreeMemory | None) -> tuple[str, ...]:
    """Other processes that use memory there, as far as known."""
    if free is None:
        return ()
    processes = (f"{name} uses {size / GB:.1f} GB" for name, size in free.holders[:3])
    return tuple(line for line in (*processes, free.note) if line)


def _spec(model: str, data_file: str | None, spec_name: str | None, settings: tuple[str, ...]) -> RunSpec:
    from tuner_tui.cli.train import _read, _with_settings
    from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec

    if spec_name is None:
        spec = RunSpec(model=ModelSpec(source=model), data=DataSpec(train=data_file or "demo"))
    else:
        spec = _read(spec_name)
        data = spec.data.model_copy(update={"train": data_file} if data_file else {})
        spec = spec.model_copy(
            update={"model": spec.model.model_copy(update={"source": model}), "data": data}
        )
    return _with_settings(spec, settings)


def _facts(spec: RunSpec) -> tuple[ModelSource, ModelFacts]:
    from tuner_tui.models.facts import read_facts
    from tuner_tui.models.remote_headers import read_remote_facts
    from tuner_tui.models.source import find_source

    source = find_source(spec.model.source, spec.model.revision)
    return source, read_facts(source) if source.path else read_remote_facts(source)


def _rows(spec: RunSpec, source: ModelSource, *, has_data: bool) -> Rows:
    from tuner_tui.planning.place import UNCOUNTED

    if not has_data:
        return UNCOUNTED
    from tuner_tui.data.recognition.reading import training_reading
    from tuner_tui.models.tokenizer_folder import NoTokenizer
    from tuner_tui.planning.row_lengths import count_rows, guess_rows
    from tuner_tui.planning.this_machine import tokenizer_of

    reading = training_reading(spec.data)
    try:
        folder = tokenizer_of(spec, source, may_fetch=True)
    except NoTokenizer:
        return guess_rows(reading)
    except TunerError:
        return UNCOUNTED
    return count_rows(reading, folder)


def report(
    spec: RunSpec, source: ModelSource, facts: ModelFacts, place: Place, rows: Rows, table: MemoryTable,
    plan: MemoryPlan | None, *, show_terms: bool, others: tuple[str, ...] = (),
) -> list[str]:  # fmt: skip
    """The estimate as text."""
    from tuner_tui.planning.calibration import origin_words
    from tuner_tui.planning.run_time import outlook_of
    from tuner_tui.planning.storage import storage_of

    size = f"{facts.parameters / 1e9:.2f} billion parameters" if facts.parameters else "size unknown"
    room = place.room_bytes
    free = f"{room / GB:.1f} GB free" if room is not None else "free memory unknown"
    lines = [plain(f"{source.name}: {size}"), plain(f"on {place.name}: {free}")]
    lines += [*(plain(f"  {line}") for line in others), ""]
    lines.append(
        f"{'precision':<10}{'batch':>6}{'weights':>8}{'states':>7}{'activations':>12}{'total':>7}  range, GB"
    )
    lines += [_row_line(row, is_chosen=row.loaded_as == table.chosen) for row in table.rows]
    load = table.rows[0].load
    counted = _counted_words(rows)
    lines += [
        "",
        fill(f"{load.method}, {load.tuning}. Batch: rows of {load.length} tokens ({counted})."),
    ]
    if any(row.load.checkpointing != "off" for row in table.rows):
        lines.append("c: with gradient checkpointing, which is slower and needs less memory.")
    if place.measured and (row := table.chosen_row) is not None:
        lines.append(fill(f"The range is {origin_words(row.estimate)}."))
        outlook = outlook_of(spec, row.load, rows, place.measured, source.name)
        if outlook.words:
            lines.append(fill(f"Expected time, from earlier runs here: {outlook.words}."))
    if table.note:
        lines.append(fill(f"Note: {table.note}."))
    chosen = table.chosen_row
    if show_terms and chosen is not None:
        guess = "" if chosen.estimate.has_figure else "; activations are a guess"
        lines += ["", f"{NAMES[chosen.loaded_as]}, at its highest ({chosen.estimate.peak.name}{guess}):"]
        lines += [
            f"  {term.name:<24}{term.bytes / GB:>9.3f} GB  {term.words}"[:WIDTH]
            for term in chosen.estimate.terms
        ]
    if chosen is not None:
        lines += ["", *(plain(line) for line in storage_of(spec, source, facts, chosen.estimate).lines)]
    if plan is not None:
        lines += ["", "The fastest that fits:" if plan.verdict == "fits" else f"At best: {plan.verdict}"]
        lines += [fill(f"{each.name}: {each.value} ({each.reason})", "  ", "  ") for each in plan.choices]
        if plan.suggestions:
            lines += [
                "",
                "Suggestions:",
                *(fill(suggestion.words, "  ", "  ") for suggestion in plan.suggestions),
            ]
    return lines


def _counted_words(rows: Rows) -> str:
    if rows.first is not None:
        longest = (
            "" if rows.longest is None else f", of which the longest has {counted(rows.longest, 'token')}"
        )
        return f"the length limit; only the first {counted(rows.first, 'row was', 'rows were')} read{longest}"
    return "the longest row" if rows.longest else "the length limit; rows were not counted"


def _row_line(row: MemoryRow, *, is_chosen: bool) -> str:
    estimate = row.estimate
    numbers = (estimate.weights, estimate.states, estimate.activations, estimate.likely)
    weights, states, activations, total = (f"{number / GB:.1f}" for number in numbers)
    if not estimate.has_figure:
        activations = total = "?"
    batch = f"{row.load.rows}{'' if row.load.checkpointing == 'off' else ' c'}"
    mark = ">" if is_chosen else " "
    spread = f"{estimate.low / GB:.1f} to {estimate.high / GB:.1f}"
    figures = f"{batch:>5}{weights:>8}{states:>7}{activations:>12}{total:>7}"
    return f"{mark}{NAMES[row.loaded_as]:<10}{figures}  {spread:<14} {row.words}"


def _as_json(
    spec: RunSpec, source: ModelSource, facts: ModelFacts, place: Place, rows: Rows, table: MemoryTable,
    plan: MemoryPlan | None,
) -> dict[str, Any]:  # fmt: skip
    from tuner_tui.planning.run_time import UNKNOWN, outlook_of
    from tuner_tui.planning.storage import storage_of

    chosen = table.chosen_row
    outlook = outlook_of(spec, chosen.load, rows, place.measured, source.name) if chosen else UNKNOWN
    return {
        "model": source.name,
        "place": {"name": place.name, "is_gpu": place.is_gpu, "free_bytes": place.free_bytes},
        "rows": {
            "count": rows.count,
            "longest": rows.longest,
            "mean": None if rows.is_guessed else rows.mean,
            "only_first": rows.first,
        },
        "chosen": table.chosen,
        "note": table.note,
        "precisions": [_row_json(row) for row in table.rows],
        "time": {"seconds": outlook.seconds, "energy_wh": outlook.energy_wh, "cost": outlook.cost or None},
        "storage": None if chosen is None else vars(storage_of(spec, source, facts, chosen.estimate)),
        "plan": None
        if plan is None
        else {
            "precision": plan.loaded_as,
            "micro_batch": plan.micro_batch,
            "checkpointing": plan.is_checkpointing,
            "verdict": plan.verdict,
            "allocated_bytes": plan.estimate.allocated if plan.estimate.has_figure else None,
            "low_bytes": plan.estimate.low,
            "high_bytes": plan.estimate.high,
            "choices": [vars(choice) for choice in plan.choices],
            "grouped_by_length": plan.is_grouped,
            "ways_out": [
                {
                    "key": suggestion.key,
                    "value": suggestion.value,
                    "words": suggestion.words,
                    "also": dict(suggestion.also),
                }
                for suggestion in plan.suggestions
            ],
        },
    }


def _row_json(row: MemoryRow) -> dict[str, Any]:
    estimate = row.estimate
    return {
        "precision": row.loaded_as,
        "verdict": row.verdict,
        "allocated_bytes": estimate.allocated if estimate.has_figure else None,
        "low_bytes": estimate.low,
        "high_bytes": estimate.high,
        "is_known": estimate.is_known,
        "terms": [{"name": term.name, "bytes": term.bytes, "words": term.words} for term in estimate.terms],
        "peaks": [{"name": peak.name, "bytes": peak.bytes} for peak in estimate.peaks],
    }

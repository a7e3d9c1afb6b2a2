"""Writes report.md when a run ends: its settings, results, fallback steps, skipped steps and warnings."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tuner_tui.files import write_atomic
from tuner_tui.hardware.telemetry import last_sample
from tuner_tui.runs.ending_words import ending_words
from tuner_tui.runs.metric_words import told
from tuner_tui.runs.status import RunFollower, read_run
from tuner_tui.text import count, counted, duration, markdown, number, plain, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner_tui.planning.oom_fallback import FallbackStep
    from tuner_tui.runs.events import FallbackTaken, StepSkipped
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunState

FALLBACK_WORDS = {
    "free": "a new process",
    "micro_batch": "a smaller micro-batch",
    "checkpointing": "checkpointing",
}
MOST_STEPS = 20
"""How many skipped steps are listed."""


def fallback_words(fallback: FallbackStep) -> str:
    """The change made by an OOM fallback step."""
    return f"{FALLBACK_WORDS[fallback.kind]}: {plain(fallback.before)} -> {plain(fallback.after)}"


def incident_rows(
    fallbacks: Iterable[FallbackTaken], skipped: Sequence[StepSkipped]
) -> list[tuple[str, str, str]]:
    """(name, change, reason) of OOM fallback steps and of skipped steps."""
    rows = [
        ("out of memory", fallback_words(taken.fallback), plain(taken.fallback.reason)) for taken in fallbacks
    ]
    if skipped:
        steps = sorted({skip.step for skip in skipped})
        named = ", ".join(map(str, steps[:MOST_STEPS])) + (", ..." if len(steps) > MOST_STEPS else "")
        rows.append(("skipped steps", f"{len(steps)}: {named}", plain(skipped[-1].reason)))
    return rows


def write_report(folder: RunFolder) -> None:
    """Write the report of an ended run; if that fails, the events still have everything."""
    with contextlib.suppress(OSError):
        run = read_run(folder)
        if run.state.ending is not None:
            write_atomic(folder.report, "\n".join(_lines(run)) + "\n")


def _lines(run: RunFollower) -> list[str]:
    state = run.state
    assert state.ending is not None
    lines = [f"# {markdown(run.folder.name)}", ""]
    lines += [*map(markdown, ending_words(state.ending, state.attempt).splitlines()), ""]
    rows = [*_what_it_was(state), *_figures(run)]
    rows += [(name, f"{what} ({why})") for name, what, why in incident_rows(state.fallbacks, state.skipped)]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {markdown(words)} |" for name, words in rows)]
    if state.warnings:
        lines += ["", "## Warnings", ""]
        lines += [f"- {markdown(f'{warning.message} {warning.hint}')}".rstrip() for warning in state.warnings]
    return lines


def _what_it_was(state: RunState) -> list[tuple[str, str]]:
    rows = []
    if state.model is not None:
        model = state.model
        rows.append(("model", f"{model.source} on {model.device} as {model.precision}"))
        rows.append(
            ("parameters", f"{count(model.parameters)}, {count(model.trainable_parameters)} of them trained")
        )
    if state.data is not None:
        data = state.data
        rows.append(
            (
                "data",
                f"{counted(data.rows, 'row')} of {data.shape}, {data.evaluation_rows} held out, "
                f"{counted(data.tokens, 'token')}",
            )
        )
        rows.append(("dropped, truncated", f"{data.dropped_rows}, {counted(data.cut_rows, 'row')}"))
    if state.training is not None:
        training = state.training
        rows.append(("batch", f"{training.micro_batch} x {training.accumulation} rows a step"))
    rows += [(choice.name, f"{choice.value} ({choice.reason})") for choice in state.choices.values()]
    return rows


def _figures(run: RunFollower) -> list[tuple[str, str]]:
    state, ending = run.state, run.state.ending
    rows = [("steps", f"{state.step} of {state.total_steps}"), ("attempts", str(state.attempt))]
    if state.started_at is not None and ending is not None:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.started_at))
        rows.append(("started, took", f"{began}, {duration(state.active_seconds)}"))
    if state.last_step is not None:
        rows.append(("loss", number(state.last_step.loss)))
        rows += [(figure.title, number(value)) for figure, value in told(state.last_step.metrics)]
        if state.last_step.peak_memory_bytes is not None:
            rows.append(("peak memory", size(state.last_step.peak_memory_bytes)))
    if (best := state.best_evaluation) is not None:
        rows.append(("best held-out loss", f"{number(best.loss)} at step {best.step}"))
    sample = last_sample(run.folder.telemetry)
    if sample is not None and sample.energy_wh is not None:
        rows.append(("energy", f"{sample.energy_wh:.1f} Wh ({sample.energy_source})"))
    if state.adapter is not None:
        rows.append(("adapter", size(state.adapter.size_bytes)))
    return rows

"""A run's details: choices with reasons, model, data, problems, checkpoints, warnings, versions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.runs.metric_words import told
from tuner_tui.runs.report import incident_rows
from tuner_tui.text import count, counted, duration, number, size
from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.wrapped_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME_CELLS = 16


class DetailsPane(VerticalScroll, can_focus=True):
    """Sections of named values."""

    DEFAULT_CSS = "DetailsPane { height: 1fr; padding: 0 1; scrollbar-gutter: stable; }"
    help_text = "The planner's choices with reasons, the model and data, and what the run has saved."

    view: var[RunView | None] = var(None)

    def compose(self) -> ComposeResult:
        yield Static("", id="details", markup=False)

    def watch_view(self, view: RunView | None) -> None:
        if view is not None and self.is_mounted and self.display:
            text = self.query_one("#details", Static)
            width = text.size.width or self.size.width
            lines = [entry.wrapped(width) if isinstance(entry, Entry) else entry for entry in details(view)]
            show(text, Content("\n").join(lines))

    def on_show(self) -> None:
        self.watch_view(self.view)

    def on_resize(self) -> None:
        self.watch_view(self.view)


def details(view: RunView) -> Iterator[Content | Entry]:
    """All lines."""
    run = view.run
    yield _line("folder", str(view.folder.path))
    if run.started_at:
        yield _line("started", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started_at)))
    if run.attempt > 1:
        yield _line("attempts", str(run.attempt))
    if run.active_seconds:
        yield _line("time", duration(run.active_seconds), "without pauses" if run.attempt > 1 else "")
    if run.model is not None:
        model = run.model
        parameters = f"{count(model.parameters)} parameters, {count(model.trainable_parameters)} trained"
        yield _line("model", f"{model.source} on {model.device} as {model.precision}")
        yield _line("", f"{parameters}, {size(model.memory_bytes)}")
    if run.data is not None:
        yield from _data(view)
    if run.last_step is not None and run.last_step.metrics:
        yield _head(f"Metrics of the method at step {run.last_step.step}")
        for figure, value in told(run.last_step.metrics):
            yield _line(figure.title, number(value), figure.healthy)
    if run.choices:
        yield _head("Choices")
        for choice in run.choices:
            yield _line(choice.name, choice.value, choice.reason)
    if trouble := incident_rows(run.fallbacks, run.skipped):
        yield _head("Trouble met")
        for name, what, why in trouble:
            yield _line(name, what, why)
    if run.warnings:
        yield _head("Warnings")
        for warning in run.warnings:
            yield Entry(Content.styled("! ", "$warning"), literal(warning.message, "$warning"))
            if warning.hint:
                yield Entry(Content("  "), literal(warning.hint))
    if run.checkpoints or run.adapter:
        yield _head("Saved")
    for checkpoint in run.checkpoints:
        words = f"{size(checkpoint.size_bytes)} in {checkpoint.seconds:.1f} s"
        yield _line(f"step {checkpoint.step}", words, f"{checkpoint.path} ({checkpoint.reason})")
    if run.adapter is not None:
        yield _line("adapter", size(run.adapter.size_bytes), str(view.folder.path / run.adapter.path))
    if run.evaluations:
        yield _head("Evaluations")
        for evaluation in run.evaluations[-20:]:
            yield _line(
                f"step {evaluation.step}",
                number(evaluation.loss),
                "best so far" if evaluation.is_best else "",
            )
    if run.overhead is not None:
        yield _head("Time outside of steps")
        spent = run.overhead
        for name, seconds in (
            ("samples", spent.sample_seconds),
            ("evaluation", spent.evaluation_seconds),
            ("checkpoints", spent.checkpoint_seconds),
            ("reporting", spent.callback_seconds),
        ):
            yield _line(name, duration(seconds))
    if run.versions:
        yield _head("Versions")
        yield literal(", ".join(f"{name} {version}" for name, version in run.versions.items()), "$faint")


def _data(view: RunView) -> Iterator[Entry]:
    data, training = view.run.data, view.run.training
    assert data is not None
    held_out = f", {data.evaluation_rows} held out" if data.evaluation_rows else ""
    yield _line("data", f"{counted(data.rows, 'row')} of {data.shape}{held_out}")
    yield _line(
        "",
        f"{data.trained_tokens:,} of {data.tokens:,} tokens with loss; longest row {data.longest_row}",
    )
    if data.cut_rows or data.dropped_rows:
        yield _line(
            "", f"{counted(data.cut_rows, 'row')} truncated at the length limit, {data.dropped_rows} left out"
        )
    if training is not None:
        batch = (
            f"{training.micro_batch} x {training.accumulation} rows per step, {training.total_steps} steps"
        )
        yield _line("batch", batch, f"from {training.checkpoint}" if training.checkpoint else "")


def _head(words: str) -> Content:
    return Content.styled(f"\n{words}", "bold $primary")


def _line(name: str, words: str, more: str = "") -> Entry:
    """A name, what it is, and why."""
    shown = literal(name).plain
    gap = " " * max(2, NAME_CELLS - cell_len(shown))
    text = Content.assemble(literal(words), "  ", literal(more, "$faint")) if more else literal(words)
    return Entry(Content.styled(shown + gap, "$faint"), text)

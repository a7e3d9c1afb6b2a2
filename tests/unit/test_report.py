"""The report that a run leaves, and that `runs show` tells what trouble it met."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from tuner_tui.cli.runs import runs as runs_command
from tuner_tui.planning.oom_fallback import FallbackStep
from tuner_tui.runs.events import (
    PROTOCOL,
    Evaluated,
    Event,
    FallbackTaken,
    RunFinished,
    RunStarted,
    StepLogged,
    StepSkipped,
    TrainingStarted,
    Warned,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.report import write_report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

EVENTS: tuple[Event, ...] = (
    RunStarted(protocol=PROTOCOL),
    TrainingStarted(total_steps=9, micro_batch=2, accumulation=2),
    FallbackTaken(
        fallback=FallbackStep(kind="micro_batch", before="4 x 1", after="2 x 2", reason="fewer rows at once")
    ),
    StepSkipped(step=4, reason="the loss became nan"),
    StepLogged(step=9, total_steps=9, epoch=1.0, loss=1.25),
    Evaluated(step=9, loss=1.5, seconds=1.0, is_best=True),
    Warned(message="The disk | is nearly full."),
)


def test_a_report_holds_figures_fallback_steps_skipped_steps_and_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    folder = RunFolder(tmp_path / "data" / "runs" / "run")
    folder.path.mkdir(parents=True)
    folder.spec.touch()
    for event in EVENTS:
        append_event(folder.events, event)
    write_report(folder)
    assert not folder.report.exists()  # it has not ended
    append_event(folder.events, RunFinished(step=9, loss=1.25, seconds=60.0))
    write_report(folder)
    told = folder.report.read_text()
    for words in (
        "finished at step 9 in 1 min 0 s, loss 1.25",
        "| out of memory | a smaller micro-batch: 4 x 1 -> 2 x 2 (fewer rows at once) |",
        "| skipped steps | 1: 4 (the loss became nan) |",
        "| best held-out loss | 1.5 at step 9 |",
        "- The disk \\| is nearly full.",
    ):
        assert words in told, told
    shown = CliRunner().invoke(runs_command, ["show", "run"]).output
    assert "a smaller micro-batch: 4 x 1 -> 2 x 2" in shown
    assert "1: 4 (the loss became nan)" in shown

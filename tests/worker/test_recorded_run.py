"""A run's folder that an earlier version wrote is opened, resumed to the figures of that version, and exported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.worker.preferences import pairs
from tests.worker.runs import Run, write_rows
from tuner_tui.config import paths
from tuner_tui.config.spec_file import read_spec
from tuner_tui.runs.events import RunFinished
from tuner_tui.runs.export_events import Checked, Event, ExportRequest
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.status import read_run
from tuner_tui.sharing.run_facts import read_facts
from tuner_tui.sharing.train_script import script
from tuner_tui.worker.export.check import check_form
from tuner_tui.worker.export.write import write_form
from tuner_tui.worker.train import run_job

if TYPE_CHECKING:
    from tuner_tui.runs.export_events import Form

RECORDED = Path(__file__).parent.parent / "data" / "run_before"
"""A DPO run that was stopped after the second of four steps; @FOLDER@ stands for where model and rows lay."""
LOSSES = (0.6931471824645996, 0.6931471824645996, 0.6930814385414124, 0.6930435299873352)
"""What the version that wrote it then came to."""


@pytest.fixture
def recorded(tmp_path: Path, tiny_model: Path) -> RunFolder:
    shutil.copytree(tiny_model, tmp_path / "tiny-llama")
    write_rows(tmp_path / "pairs.jsonl", pairs(8))
    folder = RunFolder(paths.runs_dir() / "2026-11-29-recorded-464a")
    shutil.copytree(RECORDED, folder.path)
    for file in (folder.spec, folder.plan, folder.events):
        file.write_text(file.read_text().replace("@FOLDER@", str(tmp_path)))
    return folder


def test_a_run_of_before_opens_resumes_and_is_exported(recorded: RunFolder, tmp_path: Path) -> None:
    assert read_run(recorded).status == "stopped"
    spec = read_spec(recorded.spec)
    assert (spec.method.kind, spec.tuning.kind) == ("dpo", "lora")

    assert run_job(recorded.path, is_resumed=True) == 0
    run = Run(recorded, 0)
    assert run.last(RunFinished).step == 4
    assert run.losses == pytest.approx(LOSSES, abs=2e-6)

    facts = read_facts(recorded)
    assert "DPOTrainer" in script(facts) and "LoraConfig" in script(facts)
    forms: tuple[Form, ...] = ("adapter", "merged", "gguf-adapter")
    for form in forms:
        out = tmp_path / f"out-{form}"
        out.mkdir()
        request = ExportRequest(
            run=str(recorded.path), form=form, out=str(out), events="", precision="fp32", compute="fp32",
            quant="f32", prompts=("Why?",), max_new_tokens=4,
        )  # fmt: skip
        events: list[Event] = []
        write_form(request, events.append)
        check_form(request, events.append)
        assert isinstance(events[-1], Checked)

"""The command profile: real steps in a worker of its own, of which nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from tuner_tui.cli import tuner_tui
from tuner_tui.config.spec import (
    DataSpec,
    EvaluationSpec,
    MachineSpec,
    ModelSpec,
    RunSpec,
    SamplesSpec,
    TrainingSpec,
)
from tuner_tui.config.spec_writer import spec_text
from tuner_tui.errors import InputError, TunerError
from tuner_tui.keeper import profile as keeper_profile
from tuner_tui.keeper.launch import check
from tuner_tui.keeper.process import start_worker
from tuner_tui.keeper.profile import profile_spec, run_profile, with_evaluation
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.profiling.profile import PARTS
from tuner_tui.python import python_command
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.lock import acquire
from tuner_tui.runs.profiles import ProfileOrder


@pytest.fixture
def wanted(tiny_model: Path, tmp_path: Path) -> RunSpec:
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"row {n} " + "word " * (n % 9), "completion": "answer " * 4} for n in range(60)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return RunSpec(
        model=ModelSpec(source=str(tiny_model)),
        data=DataSpec(train=str(rows), evaluation_share=0.2),
        training=TrainingSpec(batch_size=8, micro_batch=2, max_length=128, max_steps=2),
        evaluation=EvaluationSpec(every_steps=2),
        samples=SamplesSpec(prompts=("Hello",)),
        machine=MachineSpec(device="cpu", threads=1),
    )


def left(home: Path) -> list[Path]:
    """What is in the data folder but empty folders and the lock."""
    return [path for path in home.rglob("*") if path.is_file() and path.name != "probe.lock"]


def test_a_spec_is_profiled_and_nothing_stays(wanted: RunSpec, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(spec_text(wanted))
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(tuner_tui, ["profile", str(file), "--steps", "2", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [part["name"] for part in figures["parts"]] == list(PARTS)
    assert sum(part["ms"] for part in figures["parts"]) == pytest.approx(figures["step_ms"])
    assert (figures["first_step"], figures["steps"]) == (4, 2)
    settings = figures["settings"]
    assert (settings["micro_batch"], settings["accumulation"], settings["threads"]) == (2, 4, 1)
    assert settings["evaluation_every"] == 2 and settings["checkpoints_every"] is None
    assert figures["outside"]["is_estimated"] and figures["outside"]["evaluation_ms"] > 0
    assert figures["plain_step_ms"] > 0 and figures["profiler_overhead"] is not None
    assert figures["room"]["micro_batches"] == {"4": True, "8": True}
    assert left(home) == [] and sorted({*tmp_path.iterdir()} - {home}) == before


def test_the_steps_are_the_runs_own(wanted: RunSpec) -> None:
    order = ProfileOrder(measured=4)
    assert [ProfileOrder().steps(count) - 5 for count in (1, 2, 4, 8, 16, 64)] == [5, 5, 2, 1, 1, 1]
    probed = profile_spec(wanted, order)
    assert order.steps() == 3 + 4 + 2 and (probed.training.max_steps or 0) > order.steps()
    assert (probed.data, probed.method, probed.tuning) == (wanted.data, wanted.method, wanted.tuning)
    assert probed.training.batch_size == 8 and probed.samples.prompts == ()
    assert min(probed.evaluation.every_steps or 0, probed.checkpoints.every_steps or 0) > order.steps()


def test_evaluation_by_arithmetic(wanted: RunSpec) -> None:
    from tests.unit.test_profile_advice import profile_of

    measured = profile_of()  # forward and head take 350 ms for 8 rows
    counted = with_evaluation(measured, wanted, rows=48, held_out=12)
    assert counted.outside.evaluation_ms == pytest.approx(12 * 350 / 8 / 2)
    at_epochs = wanted.model_copy(update={"evaluation": EvaluationSpec()})
    assert with_evaluation(measured, at_epochs, 48, 12).outside.evaluation_ms == pytest.approx(
        12 * 350 / 8 / 6
    )
    assert with_evaluation(measured, wanted, 48, 0).outside == measured.outside


def test_errors_are_those_of_a_check(wanted: RunSpec, home: Path) -> None:
    Path(wanted.data.train).write_text('{"prompt": "a"}\n')
    with pytest.raises(InputError) as checked:
        check(wanted)
    with pytest.raises(InputError) as profiled:
        run_profile(wanted)
    assert str(checked.value) == str(profiled.value) and checked.value.title == profiled.value.title
    assert left(home) == []


def test_steps_that_fail_say_why(wanted: RunSpec, home: Path) -> None:
    """Rows of which the length limit leaves no token with loss, which the worker sees once they are tokenised."""
    training = wanted.training.model_copy(update={"max_length": 8})
    with pytest.raises(TunerError) as failed:
        run_profile(wanted.model_copy(update={"training": training}))
    assert failed.value.title.startswith("The profile failed: ") and failed.value.message
    assert left(home) == []


def test_memory_that_runs_out_is_told(wanted: RunSpec, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own message for a failed allocation, raised in the worker's first step."""
    started = start_worker

    def start(folder: Any, lock: Any, threads: int, *, is_resumed: bool) -> Any:
        (folder.path / "sitecustomize.py").write_text(
            "import torch\n"
            "def fail(*_, **__):\n"
            '    raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes.")\n'
            "torch.nn.functional.cross_entropy = fail\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(folder.path))
        return started(folder, lock, threads, is_resumed=is_resumed)

    monkeypatch.setattr(keeper_profile, "start_worker", start)
    with pytest.raises(TunerError) as failed:
        run_profile(wanted, ProfileOrder(measured=1))
    assert failed.value.title == "The profile failed: Out of memory"
    assert "can't allocate memory" in failed.value.message and "micro_batch" in failed.value.hint
    assert left(home) == []


def test_beside_a_run_or_a_probe_nothing_is_measured(wanted: RunSpec, home: Path) -> None:
    folder = home / "data" / "runs" / "at-work"
    folder.mkdir(parents=True)
    lock = acquire(folder / "lock")
    assert lock is not None
    with pytest.raises(TunerError, match="at-work"):
        run_profile(wanted)
    lock.release()
    probing = acquire(home / "data" / "probe.lock")
    assert probing is not None
    with pytest.raises(TunerError) as refused:
        run_profile(wanted)
    probing.release()
    assert refused.value.title == "Another probe is running"


def test_ctrl_c_ends_the_worker(wanted: RunSpec, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(spec_text(wanted))
    command = python_command("tuner_tui", "profile", str(file), "--steps", "100")
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where a job started these tests
    process = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 120
        children: list[psutil.Process] = []
        while not children and time.monotonic() < deadline:
            children = [*filter(_is_worker, psutil.Process(process.pid).children(recursive=True))]
            time.sleep(0.1)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert not psutil.wait_procs(children, timeout=20)[1]
        assert left(home) == []
    finally:
        process.kill()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "tuner_tui.worker" in process.cmdline() and "train" in process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False


def test_what_a_killed_profile_left_is_removed(wanted: RunSpec, home: Path) -> None:
    folder = RunFolder(home / "data" / "profiles" / "2026-01-01-000000")
    plan = make_plan(wanted, find_source(wanted.model.source))
    keeper_profile._make_folder(folder, wanted, plan, ProfileOrder())
    foreign = home / "data" / "profiles" / "mine"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    assert folder.spec.exists()
    keeper_profile._remove_left()
    assert not folder.path.exists() and left(home) == [foreign / "notes.txt"]

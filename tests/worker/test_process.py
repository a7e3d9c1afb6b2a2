"""The worker as a process of its own: signals, priority, reports, and what it never imports."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
from click.testing import CliRunner

from tests.worker.runs import Run
from tuner_tui import worker
from tuner_tui.cli.doctor import doctor
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.hardware.torch_report import TorchReport
from tuner_tui.planning.plan import PlannedMemory, encode_plan, read_plan
from tuner_tui.runs.events import RunStopped, StepLogged, WorkerStarted
from tuner_tui.worker.training.checkpoints import why_corrupt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder


def test_a_signal_stops_after_a_step_and_interrupts_are_ignored(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(training={"max_steps": 100_000})
    memory = PlannedMemory(
        precision="fp32", micro_batch=1, is_checkpointing=False, allocated_bytes=1, low_bytes=1, high_bytes=1
    )
    folder.plan.write_bytes(encode_plan(msgspec.structs.replace(read_plan(folder.plan), memory=memory)))
    started = time.time()
    with folder.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner_tui.worker", "train", str(folder.path)],
            env=worker_environment(1),
            stdout=log,
            stderr=log,
        )
    try:
        run = Run(folder, 0)
        while len(run.all(StepLogged)) < 3:
            assert process.poll() is None, folder.log.read_text()
            assert time.time() - started < 120
            time.sleep(0.05)
        assert psutil.Process(process.pid).nice() == psutil.Process().nice() + 5
        mapped = {Path(file.path).name for file in psutil.Process(process.pid).memory_maps()}
        assert any(name.startswith("libtorch_cpu") for name in mapped)
        assert not any("bitsandbytes" in name for name in mapped)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.terminate()
        assert process.wait(100) == 0
        left_at = time.time()
    finally:
        process.kill()
        process.wait()
    stopped = run.last(RunStopped)
    assert run.last(WorkerStarted).pid == process.pid
    assert stopped.step == run.last(StepLogged).step
    assert stopped.checkpoint == f"step-{stopped.step:06d}"
    assert why_corrupt(folder.checkpoints / stopped.checkpoint) is None
    assert left_at - stopped.at < 1  # also where taking torch apart takes longer
    log_text = folder.log.read_text()
    assert "{'loss'" not in log_text  # the events hold the figures; the log is for what goes wrong


@pytest.mark.slow
def test_the_doctor_is_told_what_trains_here() -> None:
    answer = CliRunner().invoke(doctor, ["--json"], catch_exceptions=False)
    report = msgspec.convert(json.loads(answer.output)["torch"], TorchReport)
    assert report.error is None
    assert report.torch_version
    assert report.bitsandbytes == "ok"
    assert set(report.precisions) == {"fp32", "bf16", "fp16", "int8", "nf4"}
    assert all(report.precisions[name].works for name in ("fp32", "bf16", "int8", "nf4"))
    if not report.cuda_available:
        assert not report.precisions["fp16"].works


def test_the_worker_imports_no_screen() -> None:
    code = (
        "import importlib, pkgutil, sys, tuner_tui.worker as worker\n"
        "for module in pkgutil.walk_packages(worker.__path__, 'tuner_tui.worker.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "ours = ('textual', 'textual_plotext', 'tuner_tui.cli', 'tuner_tui.ui', 'tuner_tui.keeper')\n"
        "print([name for name in sys.modules if name.startswith(ours)], 'torch' in sys.modules)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.splitlines()[-1] == "[] True"
    for source in Path(worker.__file__).parent.rglob("*.py"):  # libraries of theirs do import click
        assert not re.search(r"^\s*(import|from) (click|textual)", source.read_text(), re.MULTILINE), source

"""What the keeper says of the machine: heat, a full disk and sleep, each once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tuner_tui.hardware import sleep
from tuner_tui.hardware.telemetry import TelemetrySample
from tuner_tui.keeper.guards import HOT_SAMPLES, MachineGuard
from tuner_tui.runs.events import CheckpointSaved, ModelLoaded
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.state import RunState


@pytest.fixture
def guard(tmp_path: Path) -> MachineGuard:
    return MachineGuard(RunFolder(tmp_path))


def hot(*reasons: str) -> TelemetrySample:
    return TelemetrySample(at=0.0, temperature_celsius=91.0, throttle_reasons=reasons)


def test_heat_is_told_once_and_only_when_it_lasts(guard: MachineGuard) -> None:
    state = RunState()
    said = [guard.look(hot("thermal"), state) for _ in range(HOT_SAMPLES - 1)]
    assert not any(said)
    (warning,) = guard.look(hot("thermal"), state)
    assert "heat at 91 °C" in warning.message
    assert not any(guard.look(hot("thermal"), state) for _ in range(100))


def test_a_moment_of_heat_is_nothing(guard: MachineGuard) -> None:
    state = RunState()
    for _ in range(10):
        said = [guard.look(hot("thermal"), state) for _ in range(HOT_SAMPLES - 1)]
        said.append(guard.look(hot(), state))
        assert not any(said)


def test_a_disk_too_small_for_the_next_checkpoint_is_told_before(tmp_path: Path) -> None:
    state = RunState()
    guard = MachineGuard(RunFolder(tmp_path))
    assert guard.look(None, state) == []
    free = shutil.disk_usage(tmp_path).free
    state.apply(CheckpointSaved(step=1, path="checkpoints/step-000001", size_bytes=2 * free, seconds=1.0))
    (warning,) = MachineGuard(RunFolder(tmp_path)).look(None, state)
    assert "next checkpoint does not fit on the disk" in warning.message
    before_any = RunState()
    loaded = ModelLoaded(
        source="m", precision="fp32", device="cpu", parameters=free, trainable_parameters=free, memory_bytes=1,
        seconds=1.0,
    )  # fmt: skip
    before_any.apply(loaded)
    (warning,) = MachineGuard(RunFolder(tmp_path)).look(None, before_any)
    assert "next checkpoint does not fit on the disk" in warning.message


def test_sleep_is_noticed(guard: MachineGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    state = RunState()
    assert guard.look(None, state) == []
    before = sleep._seconds_slept()
    monkeypatch.setattr(sleep, "_seconds_slept", lambda: before + 7200.0)
    (warning,) = guard.look(None, state)
    assert "slept for 2 h" in warning.message
    assert guard.look(None, state) == []


def test_the_inhibitor_leaves_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemd-inhibit"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat\necho left >> {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    awake = sleep.Wakefulness()
    awake.close()
    asked = (tmp_path / "asked").read_text()
    assert "--what=sleep:idle" in asked
    assert asked.endswith("left\n")

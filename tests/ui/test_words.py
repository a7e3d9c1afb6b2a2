"""The pure parts behind the screens: chart points, ticks, sparklines, gauges, hardware in words."""

from __future__ import annotations

import math

import msgspec
import pytest

from tuner_tui.hardware.doctor import check_torch_version
from tuner_tui.hardware.gpu import GpuProcess, GpuReport, GpuSnapshot
from tuner_tui.hardware.system import SystemSnapshot
from tuner_tui.hardware.telemetry import TelemetrySample
from tuner_tui.runs.events import Evaluated, StepLogged, TrainingStarted
from tuner_tui.runs.state import RunSnapshot, RunState
from tuner_tui.ui.chart_points import AXES, ZOOMS, chart_points, nice_ticks
from tuner_tui.ui.hardware_words import hardware_line
from tuner_tui.ui.run_words import ago, progress_bar, rough, sparkline
from tuner_tui.ui.telemetry_words import gauges
from tuner_tui.ui.widgets.literal import fit, fit_name

CARD = GpuSnapshot(
    index=0,
    name="NVIDIA GeForce RTX 4070",
    memory_total_bytes=12_000_000_000,
    memory_free_bytes=10_300_000_000,
    memory_used_bytes=1_700_000_000,
    processes=(
        GpuProcess(pid=7, name="ollama", memory_bytes=900_000_000),
        GpuProcess(pid=8, memory_bytes=1000),
    ),
)
SYSTEM = SystemSnapshot(cpu_count=16, ram_total_bytes=32_000_000_000, ram_available_bytes=20_000_000_000)


def run_of(steps: int, loss: float | None = 1.0, evaluate_every: int = 0) -> RunSnapshot:
    state = RunState()
    state.apply(TrainingStarted(at=1.0, total_steps=steps, micro_batch=1, accumulation=1))
    for step in range(1, steps + 1):
        value = None if loss is None else loss + 1 / step + 0.1 * math.sin(step)
        state.apply(
            StepLogged(
                at=float(step), step=step, total_steps=steps, epoch=0.0, loss=value, tokens=100, seconds=1
            )
        )
        if evaluate_every and step % evaluate_every == 0:
            state.apply(Evaluated(step=step, loss=value, seconds=1))
    return state.snapshot()


@pytest.mark.parametrize("steps", [0, 1, 2, 36, 1999, 2001, 60_000])
@pytest.mark.parametrize("columns", [8, 73, 190])
def test_never_more_than_two_points_a_column(steps: int, columns: int) -> None:
    run = run_of(steps, evaluate_every=7)
    for axis in AXES:
        for zoom in ZOOMS:
            points = chart_points(run.curves, run.evaluations, axis, zoom, columns)
            assert len(points.raw[0]) <= 2 * columns
            assert len(points.smooth[0]) <= columns
            assert len(points.evaluations[0]) <= columns
            assert points.is_empty == (steps == 0)
            if steps:
                assert points.x_range[1] == {"steps": steps, "tokens": 100 * steps, "time": steps - 1}[axis]


def test_zoom_keeps_the_end() -> None:
    run = run_of(1000)
    whole = chart_points(run.curves, (), "steps", "whole run", 100)
    tenth = chart_points(run.curves, (), "steps", "last tenth", 100)
    assert max(whole.x_range) == 1000
    assert min(tenth.x_range) >= 900
    assert tenth.smooth[1][-1] == whole.smooth[1][-1]


def test_losses_that_are_no_numbers_leave_gaps() -> None:
    run = run_of(20, loss=None)
    points = chart_points(run.curves, (), "steps", "whole run", 40)
    assert points.is_empty
    assert points.gaps == 20


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (1.2, 3.99), (0, 5e6), (-2, 2), (1e-5, 2e-5), (3, 3), (0, 7)]
)
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_ticks_are_few_and_inside(low: float, high: float, count: int) -> None:
    ticks = nice_ticks(low, high, count)
    assert len(ticks) <= count + 1
    assert all(low <= tick <= high * 1.0001 for tick in ticks)


def test_sparklines_and_bars() -> None:
    assert sparkline([3, 2, 1, 0], 4) == "█▆▃▁"
    assert sparkline([1, 1, 1], 8) == "▁▁▁"
    assert len(sparkline(list(range(100)), 8)) == 8
    assert sparkline([], 8) == sparkline([1.0], 0) == ""
    assert progress_bar(0.5, 10) == ("━" * 5, "─" * 5)
    assert progress_bar(7.0, 4) == ("━" * 4, "")


def test_times_are_rough() -> None:
    assert [rough(s) for s in (0, 40, 100, 4000, 200_000)] == ["0 s", "40 s", "2 min", "67 min", "2 d"]
    assert ago(100, 160) == "60 s ago"
    assert ago(0, 30 * 86400).endswith("1970")


def test_names_keep_their_end_and_their_width() -> None:
    from rich.cells import cell_len

    assert fit_name("2026-11-21-octopus-3f2a", 16) == "octopus-3f2a    "
    assert fit_name("2026-11-21-a-very-long-name-indeed-3f2a", 16) == "a-very-lon…-3f2a"
    for text in ("你好世界你好世界你好", "👩‍👩‍👧 family run", "\x1b[31mred", "plain"):
        for width in range(1, 30):
            assert cell_len(fit(text, width)) == width
            assert cell_len(fit_name(text, width)) == width


def test_the_machine_in_one_line() -> None:
    line = hardware_line(GpuReport(gpus=(CARD,)), SYSTEM)
    card = "NVIDIA GeForce RTX 4070 · 10.3 of 12.0 GB free · used by ollama 0.9 GB"
    assert line == f"{card} · 16 CPU cores · 20.0 of 32.0 GB RAM free"
    assert hardware_line(GpuReport(), SYSTEM).startswith("No GPU · 16 CPU cores")
    assert hardware_line(GpuReport(gpu_present=True), SYSTEM).startswith("GPU does not work")
    silent = msgspec.structs.replace(CARD, processes=None, memory_free_bytes=None)
    assert "memory unknown · 1.7 GB in use by unknown processes" in hardware_line(
        GpuReport(gpus=(silent,)), SYSTEM
    )


def test_a_processor_build_beside_a_card_is_found_by_its_version() -> None:
    with_card = GpuReport(gpus=(CARD,), cuda_driver_version="13.0")
    (check,) = check_torch_version(with_card, "2.13.0+cpu")
    assert check.status == "problem"
    assert "pip install torch" in check.remedy
    assert not check_torch_version(with_card, "2.13.0+cu130")
    assert not check_torch_version(GpuReport(), "2.13.0+cpu")


def test_gauges_call_what_is_missing_unknown() -> None:
    assert gauges([], True)[0].words == "no readings yet"
    bare = TelemetrySample(at=1.0)
    words = {gauge.name: gauge.words for gauge in gauges([bare], True)}
    assert words == {"GPU": "unknown: no readings", "CPU": "unknown", "RAM": "unknown", "energy": "unknown"}
    assert gauges([bare], False)[0].words == "not used: trains on the CPU"
    loading = [gauge.name for gauge in gauges([bare], None)]
    assert loading == ["CPU", "RAM", "energy"], "where a run trains is known once its model is loaded"
    assert gauges([], None, is_live=False)[0].words == "no readings"
    hot = TelemetrySample(at=1.0, gpu_percent=99.0, temperature_celsius=88.0, throttle_reasons=("thermal",))
    found = {gauge.name: gauge for gauge in gauges([bare, hot], True)}
    assert found["heat"].words == "88 °C slowed: thermal"
    assert found["heat"].is_hot
    assert found["GPU memory"].words == "unknown"
    assert found["GPU"].series == (0.99,)

"""What earlier runs took makes later estimates truer, and never a wrong one worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.test_estimate import shape
from tests.unit.test_planner import card, spec
from tuner_tui.config.settings import settings_file
from tuner_tui.config.spec import TrainingSpec
from tuner_tui.hardware.free_memory import FreeMemory
from tuner_tui.planning.calibration import calibrate, origin_words, run_seconds
from tuner_tui.planning.estimate import estimate_memory
from tuner_tui.planning.measurement import Measured, is_same_device, matching
from tuner_tui.planning.place import Rows, place_of
from tuner_tui.planning.run_time import outlook_of
from tuner_tui.planning.workload import Workload
from tuner_tui.runs.measurements import all_measured, probes_dir, read_measured, write_measured
from tuner_tui.versions import library_versions

GB = 10**9
LOAD = Workload(rows=2)
ESTIMATE = estimate_memory(shape(), LOAD)


def write_settings(home: Path, text: str) -> None:
    path = settings_file()
    assert path.is_relative_to(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def measured(**changes: Any) -> Measured:
    usual = Measured(
        at=1.0, device_name="card", driver="580", versions={"torch": "2.13.0"}, is_gpu=True, model_name="model",
        method="sft", tuning="lora", loaded_as="bf16", is_checkpointing=True, micro_batch=2, length=1024,
        predicted_bytes=10 * GB, allocated_bytes=10 * GB, reserved_bytes=11 * GB, context_bytes=GB // 2, steps=3,
        seconds_per_step=2.0, tokens_per_second=1000.0,
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


def test_without_measurements_nothing_changes() -> None:
    assert calibrate(ESTIMATE, LOAD, []) is ESTIMATE
    assert origin_words(ESTIMATE) == "by formula; not measured on this machine yet"


def test_measurements_narrow_the_range_and_say_so() -> None:
    found = calibrate(ESTIMATE, LOAD, [measured(), measured(allocated_bytes=round(10.1 * GB)), measured()])
    assert found.high - found.low < ESTIMATE.high - ESTIMATE.low
    assert found.low <= ESTIMATE.allocated * 1.1 + GB // 2 <= found.high
    assert origin_words(found) == "measured here 3 times"
    assert found.allocated == ESTIMATE.allocated


def test_a_run_that_took_more_moves_the_range_up() -> None:
    took_more = [measured(allocated_bytes=12 * GB, reserved_bytes=13 * GB)]
    found = calibrate(ESTIMATE, LOAD, took_more, {"model"})
    assert found.low > 1.15 * ESTIMATE.allocated


def test_one_run_of_another_model_leaves_a_wide_margin() -> None:
    other, same = (calibrate(ESTIMATE, LOAD, [measured()], names) for names in ({"another"}, {"model"}))
    assert other.high - other.low > 0.15 * ESTIMATE.allocated > same.high - same.low
    several = calibrate(ESTIMATE, LOAD, [measured()] * 3, {"another"})
    assert several.high - several.low == same.high - same.low
    unknown = estimate_memory(shape(model_type="something_new"), LOAD)
    assert calibrate(unknown, LOAD, [measured()] * 3, {"another"}) is unknown
    assert calibrate(unknown, LOAD, [measured()], {"model"}).measured == 1


def test_a_correction_counts_where_the_driver_tells_no_context() -> None:
    took_more = measured(allocated_bytes=12 * GB, context_bytes=None)
    found = calibrate(ESTIMATE, LOAD, [took_more], {"model"})
    assert found.measured == 1 and found.low > ESTIMATE.low and found.high > ESTIMATE.high
    other = measured(tuning="full", context_bytes=None)
    assert calibrate(ESTIMATE, LOAD, [other], {"model"}) is ESTIMATE  # nothing was used, so nothing is said


def test_other_kinds_of_runs_only_tell_context_and_reserve() -> None:
    other = measured(tuning="full", allocated_bytes=12 * GB)
    found = calibrate(ESTIMATE, LOAD, [other])
    assert ESTIMATE.low <= found.low <= found.high <= ESTIMATE.high


def test_a_figure_out_of_all_proportion_is_left_out() -> None:
    assert calibrate(ESTIMATE, LOAD, [measured(allocated_bytes=40 * GB)]) is ESTIMATE


def test_only_the_same_card_and_libraries_count() -> None:
    kept = measured(at=2.0)
    others = [measured(device_name="other"), measured(versions={"torch": "2.9.0"}), measured(is_gpu=False)]
    versions = {"torch": "2.13.0", "python": "3.11"}
    assert matching([*others[:2], kept], "card", versions) == (kept,)
    assert matching(others, None, versions) == (others[2],)


def test_another_driver_is_another_place() -> None:
    versions = {"torch": "2.13.0"}
    assert matching([measured()], "card", versions, "580") and matching([measured()], "card", versions)
    assert not matching([measured()], "card", versions, "570")
    assert not matching([measured()], "card", {})  # PyTorch is gone


@pytest.mark.parametrize(
    ("torchs", "systems", "is_same"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", True),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA A100-SXM4-80GB (MIG)", True),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA A100-SXM4-80GB", False),
        ("Tesla T4", "NVIDIA L4", False),
        ("AMD Radeon RX 7900 XTX", "AMD GPU", True),
        ("NVIDIA L4", "AMD GPU", False),
    ],
)
def test_a_card_is_the_same_by_its_name_in_torch_and_in_the_system(
    torchs: str, systems: str, is_same: bool
) -> None:
    assert is_same_device(torchs, systems) is is_same


def test_a_place_knows_what_was_measured_there() -> None:
    here = measured(is_gpu=False, versions={"torch": library_versions()["torch"]})
    place = place_of(FreeMemory(False, "RAM", 8 * GB, 16 * GB), 0, [here, measured()])
    assert place.measured == (here,)


def test_time_comes_from_speed_and_never_from_nothing() -> None:
    rows = Rows(longest=200, count=800, sample=(100,))
    asked = spec(training=TrainingSpec(batch_size=8, epochs=2))
    assert run_seconds(asked, LOAD, rows, [measured()], "model") == pytest.approx(2 * 800 * 100 / 1000)
    limited = spec(training=TrainingSpec(batch_size=8, epochs=2, max_steps=10))
    assert run_seconds(limited, LOAD, rows, [measured()], "model") == pytest.approx(10 * 8 * 100 / 1000)
    assert run_seconds(asked, LOAD, rows, [measured()], "another") is None
    assert run_seconds(asked, LOAD, Rows(), [measured()], "model") is None
    assert run_seconds(asked, replace(LOAD, loaded_as="nf4"), rows, [measured()], "model") is None


def test_energy_and_money_come_from_measured_power_and_a_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    rows = Rows(longest=200, count=36_000, sample=(100,))
    asked = spec(training=TrainingSpec(batch_size=8, epochs=1))
    assert outlook_of(asked, LOAD, rows, [measured()], "model").words == "about 1 h 0 min"
    found = outlook_of(asked, LOAD, rows, [measured(watts=200.0), measured()], "model")
    assert found.energy_wh == pytest.approx(200) and found.cost == ""
    assert found.words == "about 1 h 0 min, 0.2 kWh"
    write_settings(tmp_path, "[energy]\nprice = 0.3\n")
    words = outlook_of(asked, LOAD, rows, [measured(watts=200.0)], "model").words
    assert words == "about 1 h 0 min, 0.2 kWh, 0.06 EUR"
    assert outlook_of(asked, LOAD, rows, [measured(watts=200.0)], "another").words == ""


def test_folders_keep_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    assert all_measured() == []
    for number in range(3):
        folder = probes_dir() / f"probe-{number}"
        folder.mkdir(parents=True)
        write_measured(folder, measured(at=float(number)))
    for broken in (b"{broken", b'{"model": "\xff"}'):
        (probes_dir() / "probe-1" / "memory.json").write_bytes(broken)
        assert [each.at for each in all_measured()] == [2.0, 0.0]
    assert read_measured(tmp_path) is None
    assert card(8).measured == ()

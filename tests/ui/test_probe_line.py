"""The probe in Review: one key makes it and ends it, and what it says goes into the panel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ui.new_run_host import Walk, new_run
from tuner_tui.config.spec import DataSpec, MachineSpec, ModelSpec, RunSpec, TrainingSpec
from tuner_tui.runs.lock import acquire
from tuner_tui.runs.measurements import all_measured
from tuner_tui.ui.widgets.probe_line import ProbeLine


@pytest.fixture
def asked(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"row {n} " + "word " * n, "completion": "answer " * 4} for n in range(40)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return RunSpec(
        model=ModelSpec(source=str(tiny_model)),
        data=DataSpec(train=str(rows)),
        training=TrainingSpec(batch_size=4, max_length=128),
        machine=MachineSpec(device="cpu", threads=1),
    )


def line(walk: Walk) -> ProbeLine:
    return walk.screen.query_one(ProbeLine)


async def at_review(walk: Walk) -> None:
    await walk.settled()
    await walk.go_to("review")
    await walk.until(lambda: walk.screen._panel.view.rows, "the table")


async def test_a_key_probes_and_the_same_key_ends_it(asked: RunSpec) -> None:
    async with new_run(asked) as walk:
        await at_review(walk)
        assert "t runs a probe" in walk.text() and "t Probe" in walk.text()
        await walk.press("t")
        await walk.until(lambda: "Probing" in walk.text() and "t End probe" in walk.text(), "the probe")
        await walk.press("4", "5")  # the screen goes on meanwhile
        assert walk.step == "review"
        await walk.press("t")
        await walk.until(lambda: not line(walk).is_at_work, "its end")
        assert "t runs a probe" in walk.text()
        assert all_measured() == []


async def test_what_keeps_it_from_probing_is_told(asked: RunSpec, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "data" / "runs" / "at-work"
    folder.mkdir(parents=True)
    lock = acquire(folder / "lock")
    assert lock is not None
    try:
        async with new_run(asked) as walk:
            await at_review(walk)
            await walk.press("t")
            await walk.until(lambda: "A run is training" in walk.text(), "the reason")
            assert "at-work" in walk.text()
    finally:
        lock.release()


@pytest.mark.slow
async def test_figures_stand_beside_the_estimate_and_narrow_the_panel(asked: RunSpec) -> None:
    async with new_run(asked, size=(130, 40)) as walk:
        await at_review(walk)
        before = walk.screen._panel.view.rows
        chosen = next(row for row in before if walk.screen._panel._is_chosen(row)).estimate
        await walk.press("t")
        await walk.until(lambda: "Probed:" in walk.text(), "figures", patience=240)
        await walk.until(lambda: "tokens/s" in walk.text(), "its lines")
        assert "estimated" in walk.text()
        await walk.until(lambda: "measured here once" in walk.text(), "the panel")
        after = next(r for r in walk.screen._panel.view.rows if walk.screen._panel._is_chosen(r)).estimate
        assert after.high - after.low < chosen.high - chosen.low
        assert len(all_measured()) == 1
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("3")
        await walk.go_to("review")
        assert "Settings have changed since" in walk.text()

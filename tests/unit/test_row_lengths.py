"""The rows' lengths as far as memory asks: of more rows than are looked at nothing is claimed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_measured import LOAD, measured
from tests.unit.test_planner import MODELS, card, spec
from tuner_tui.config.spec import TrainingSpec
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.planning import row_lengths
from tuner_tui.planning.calibration import run_seconds
from tuner_tui.planning.place import Rows
from tuner_tui.planning.planner import plan_memory
from tuner_tui.planning.row_lengths import count_rows, longest_rows


def test_only_the_first_rows_are_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_lengths, "LOOKED_AT", 5)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "a"}) + "\n" for _ in range(5)))
    assert count_rows(Reading(rows), tmp_path) == Rows(count=5)  # no tokenizer there
    rows.write_text("".join(json.dumps({"text": "a"}) + "\n" for _ in range(6)))
    assert count_rows(Reading(rows), tmp_path) == Rows(first=5)


def test_a_longer_row_may_come_after_the_first() -> None:
    cut = Rows(longest=100, first=50_000, sample=(100,) * 8)
    assert cut.longest_within(512) == 512 and Rows(longest=100).longest_within(512) == 100
    plan = plan_memory(spec(training=TrainingSpec(max_length=512)), MODELS["1B"], card(80), cut)
    assert plan is not None and plan.load.length == 512
    assert "only the first 50,000" in next(each.reason for each in plan.choices if each.name == "length")


def test_time_of_more_rows_than_were_looked_at_is_known_only_by_a_step_limit() -> None:
    cut = Rows(longest=100, first=800, sample=(100,))
    assert run_seconds(spec(), LOAD, cut, [measured()], "model") is None
    limited = spec(training=TrainingSpec(batch_size=8, max_steps=10))
    assert run_seconds(limited, LOAD, cut, [measured()], "model") == pytest.approx(10 * 8 * 100 / 1000)
    beyond = spec(training=TrainingSpec(batch_size=8, max_steps=10_000, epochs=1))
    assert run_seconds(beyond, LOAD, cut, [measured()], "model") is None


def test_long_is_what_has_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_lengths, "LONGEST", 1)
    rows = [{"text": "a" * 12}, {"text": "\u8a9e" * 8}]
    assert longest_rows(rows, None, 100) == [rows[1]]

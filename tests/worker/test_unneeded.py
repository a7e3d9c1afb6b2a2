"""A worker's process leaves bitsandbytes out exactly where nothing is quantised."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tuner_tui.config.spec import RunSpec
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import PlannedMemory, make_plan, planned
from tuner_tui.worker.unneeded import leave_out_bitsandbytes, leave_out_unneeded

if TYPE_CHECKING:
    from pathlib import Path


def memory(precision: str) -> PlannedMemory:
    return PlannedMemory(
        precision=precision,
        micro_batch=1,
        is_checkpointing=False,
        allocated_bytes=1,
        low_bytes=1,
        high_bytes=1,
    )


@pytest.mark.parametrize(
    ("settings", "planned_memory", "is_left_out"),
    [
        ({}, memory("fp32"), True),
        ({}, memory("bf16"), True),
        ({"model": {"precision": "bf16"}}, memory("bf16"), True),
        ({}, memory("nf4"), False),
        ({}, memory(""), False),  # weights as they are stored, which bitsandbytes may have quantised
        ({}, None, False),
        ({"model": {"precision": "int8"}}, memory("int8"), False),
        ({"training": {"optimizer": "adamw_8bit"}}, memory("bf16"), False),
        ({"training": {"optimizer": "paged_adamw_8bit"}}, memory("bf16"), False),
    ],
)
def test_it_is_left_out_where_nothing_is_quantised(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, dict[str, Any]],
    planned_memory: PlannedMemory | None,
    is_left_out: bool,
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Why?", "completion": "So."}\n')
    tables = {"model": {"source": str(tiny_model)}, "data": {"train": str(rows)}}
    spec = RunSpec.model_validate(
        {name: tables.get(name, {}) | settings.get(name, {}) for name in {*tables, *settings}}
    )
    plan = msgspec.structs.replace(make_plan(spec, find_source(str(tiny_model))), memory=planned_memory)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "bitsandbytes", raising=False)
        leave_out_unneeded(planned(spec, plan), plan)
        assert ("bitsandbytes" in sys.modules) is is_left_out
        sys.modules.pop("bitsandbytes", None)


def test_a_library_that_is_loaded_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = type(sys)("bitsandbytes")
    monkeypatch.setitem(sys.modules, "bitsandbytes", loaded)
    leave_out_bitsandbytes()
    assert sys.modules["bitsandbytes"] is loaded

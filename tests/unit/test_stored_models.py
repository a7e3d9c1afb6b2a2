"""Repositories that are quantised already: what a run can do with them, and what it says where it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_planner import MODELS, card, spec
from tuner_tui.config.spec import FullTuning, ModelSpec, RunSpec
from tuner_tui.models.facts import ModelFacts
from tuner_tui.planning.planner import plan_memory
from tuner_tui.planning.table import memory_table

GB = 10**9
PINNED = {"int8": spec(model=ModelSpec(source="x", precision="int8")), "full": spec(tuning=FullTuning())}


def stored(method: str, **changes: Any) -> ModelFacts:
    return replace(MODELS["8B"], **{"quantisation": method, "weight_bytes": 6 * GB, **changes})


@pytest.mark.parametrize("method", ["mxfp4", "fp8"])
def test_what_is_not_trained_as_stored_is_estimated_unpacked(method: str) -> None:
    table = memory_table(spec(), stored(method), card(80))
    assert [row.loaded_as for row in table.rows] == ["fp32", "bf16"]
    assert table.chosen == "bf16" and "unpacked" in table.note
    plain = memory_table(spec(), MODELS["8B"], card(80)).row("bf16")
    unpacked = table.row("bf16")
    assert plain and unpacked and unpacked.estimate.weights == plain.estimate.weights > 15 * GB


@pytest.mark.parametrize(
    ("facts", "asked", "words"),
    [
        (stored("compressed-tensors"), spec(), "cannot train on"),
        (stored("bitsandbytes"), PINNED["int8"], "cannot be loaded as int8"),
        (stored("mxfp4"), PINNED["int8"], "cannot be loaded as int8"),
        (stored("gptq"), PINNED["full"], "cannot be trained themselves"),
        (stored("awq", weight_bytes=None), spec(), "do not state sizes"),
    ],
)
def test_what_cannot_be_trained_gives_no_figures_but_a_reason(
    facts: ModelFacts, asked: RunSpec, words: str
) -> None:
    table = memory_table(asked, facts, card(80))
    assert not table.rows and words in table.note
    assert plan_memory(asked, facts, card(80)) is None


def test_stored_weights_weigh_what_the_files_say_and_have_no_smaller_form() -> None:
    table = memory_table(spec(), stored("gptq"), card(80))
    [row] = table.rows
    assert (row.loaded_as, row.estimate.weights, table.chosen) == ("stored", 6 * GB, "stored")
    assert "gptqmodel" in table.note
    for method in ("gptq", "mxfp4"):
        found = plan_memory(spec(), stored(method), card(4))
        assert found is not None and found.verdict == "too big"
        assert "model.precision" not in {way.key for way in found.suggestions}


def test_the_mark_is_on_what_the_plan_takes() -> None:
    table, plan = memory_table(spec(), MODELS["8B"], card(12)), plan_memory(spec(), MODELS["8B"], card(12))
    assert plan is not None and table.chosen_row is not None
    assert table.chosen == plan.loaded_as == "nf4"
    assert table.chosen_row.verdict == plan.verdict


def test_two_notes_are_both_told() -> None:
    table = memory_table(spec(), stored("gptq", model_type="something_new"), card(80))
    assert "wide range" in table.note and "gptq" in table.note

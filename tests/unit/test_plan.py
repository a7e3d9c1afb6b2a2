"""What a spec's open settings resolve to, each with its reason."""

from __future__ import annotations

import msgspec
import pytest

from tuner_tui.config.spec import (
    DataSpec,
    FullTuning,
    LoraTuning,
    MachineSpec,
    ModelSpec,
    RunSpec,
    TrainingSpec,
)
from tuner_tui.models.source import ModelSource
from tuner_tui.planning.micro_batch import choose_micro_batch
from tuner_tui.planning.plan import (
    decode_plan,
    encode_plan,
    make_plan,
)
from tuner_tui.planning.threads import choose_threads

SOURCE = ModelSource("hub", "owner/name", repo_id="owner/name", revision="abc")


def spec(**sections: object) -> RunSpec:
    return RunSpec(model=ModelSpec(source="owner/name"), data=DataSpec(train="rows.jsonl"), **sections)  # type: ignore[arg-type]


@pytest.mark.parametrize(("tuning", "rate"), [(LoraTuning(), 2e-4), (FullTuning(), 2e-5)])
def test_an_open_learning_rate_follows_the_tuning(tuning: LoraTuning | FullTuning, rate: float) -> None:
    plan = make_plan(spec(tuning=tuning), SOURCE)
    assert plan.learning_rate == rate
    [choice] = [choice for choice in plan.choices if choice.name == "learning rate"]
    assert float(choice.value) == rate and tuning.kind in choice.reason


def test_what_was_asked_is_taken_without_a_choice() -> None:
    plan = make_plan(spec(training=TrainingSpec(learning_rate=3e-4), machine=MachineSpec(threads=3)), SOURCE)
    assert (plan.learning_rate, plan.threads, plan.choices) == (3e-4, 3, ())


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (3, 2), (4, 3), (32, 31)])
def test_a_core_is_left_to_the_app_where_there_are_more_than_two(cores: int, threads: int) -> None:
    chosen, reason = choose_threads(cores)
    assert chosen == threads and reason


@pytest.mark.parametrize(
    ("asked", "batch", "is_gpu", "expected"),
    [
        (3, 9, True, 3),
        (None, 8, True, 4),
        (None, 8, False, 8),
        (None, 16, False, 8),
        (None, 6, True, 3),
        (None, 7, True, 1),
        (None, 7, False, 7),
        (None, 1, True, 1),
        (None, 9, False, 3),
    ],
)
def test_the_micro_batch_divides_the_batch(
    asked: int | None, batch: int, is_gpu: bool, expected: int
) -> None:
    chosen, reason = choose_micro_batch(asked, batch, is_gpu)
    assert chosen == expected and batch % chosen == 0 and reason


def test_a_plan_comes_back_from_its_file() -> None:
    plan = make_plan(spec(), SOURCE)
    assert decode_plan(encode_plan(plan)) == plan
    assert (plan.model_kind, plan.model_location, plan.revision) == ("hub", "owner/name", "abc")
    with pytest.raises(msgspec.DecodeError):
        decode_plan(b'{"threads": "many"}')

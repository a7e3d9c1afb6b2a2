"""The time of a CPU's steps by arithmetic, against sums by hand."""

from __future__ import annotations

import pytest

from tests.unit.test_planner import GB, plan, spec
from tuner_tui.config.spec import MachineSpec, TrainingSpec
from tuner_tui.config.tunings.full import FullTuning
from tuner_tui.planning.choices import CONCURRENT
from tuner_tui.planning.cpu_steps import micro_batch_time, step_cost, token_cost
from tuner_tui.planning.place import Place, Rows


def test_a_micro_batch_takes_its_tokens_and_a_start_of_forty() -> None:
    assert micro_batch_time(60) == 100
    assert micro_batch_time(256) == 296
    assert micro_batch_time(512) == 592  # from 256 tokens on, twice the tokens take twice the time


@pytest.mark.parametrize(
    ("rows", "concurrent", "expected"),
    [
        (1, 1, 4 * 100 / 240),
        (1, 2, 2 * 100 / 240),
        (2, 2, 160 / 240),
        (4, 1, 280 / 240),
        (1, 4, 100 / 240),
    ],
)
def test_rows_of_one_length(rows: int, concurrent: int, expected: float) -> None:
    cost = step_cost((60,), rows, 4, concurrent, concurrent, is_sorted=False)
    assert cost == pytest.approx(expected)


def test_threads_of_one_micro_batch_help_less_than_micro_batches_at_the_same_time() -> None:
    assert token_cost(60, 1, 2) == pytest.approx(100 / 60 / 2**0.4)
    assert token_cost(60, 2, 2) == pytest.approx(100 / 60 / 2)
    assert step_cost((60,), 1, 4, 1, 2, is_sorted=False) == pytest.approx(100 / 60 / 2**0.4)


def test_sorted_rows_are_padded_less() -> None:
    sample = (40, 400)
    assert step_cost(sample, 2, 8, 1, 1, is_sorted=True) < step_cost(sample, 2, 8, 1, 1, is_sorted=False)


def choices(asked: object, place: Place, rows: Rows) -> tuple[int, int]:
    """(micro-batch, how many at a time)."""
    found = plan(asked, "1B", place, rows)  # type: ignore[arg-type]
    named = [choice.value for choice in found.choices if choice.name == CONCURRENT]
    assert named == ([str(found.load.concurrent)] if found.load.concurrent > 1 else [])
    return found.micro_batch, found.load.concurrent


LONG, SHORT = Rows(longest=400, count=100, sample=(400,)), Rows(longest=58, count=100, sample=(58,))


def cpu(gigabytes: float, threads: int) -> Place:
    return Place(
        False, "CPU", round(gigabytes * GB), round(gigabytes * GB), has_16_bit=False, threads=threads
    )


def test_a_cpu_computes_one_micro_batch_for_each_thread_where_they_fit() -> None:
    asked = spec(training=TrainingSpec(batch_size=8))
    assert choices(asked, cpu(64, 2), LONG) == (1, 2)
    assert choices(asked, cpu(64, 2), SHORT) == (4, 2)
    assert choices(asked, cpu(64, 1), SHORT)[1] == 1
    assert choices(asked, cpu(64, 16), LONG) == (1, 8)  # no more than a step has


def test_less_memory_computes_fewer_at_a_time() -> None:
    asked = spec(training=TrainingSpec(batch_size=8, checkpointing="off"))
    rows = Rows(longest=1000, count=100, sample=(1000,))
    roomy = plan(asked, "1B", cpu(200, 8), rows)
    assert roomy.load.concurrent == 8
    fitting = plan(asked, "1B", cpu(roomy.estimate.high / GB / 2, 8), rows)
    assert fitting.verdict == "fits"
    assert fitting.load.concurrent in (2, 4)
    least = plan(asked, "1B", cpu(roomy.estimate.high / GB / 4.5, 8), rows)
    assert least.load.concurrent == 1


def test_as_set_and_never_where_each_would_have_a_gradient_of_the_whole_model() -> None:
    batch = TrainingSpec(batch_size=8)
    one = spec(training=batch, machine=MachineSpec(concurrent_micro_batches=1))
    assert choices(one, cpu(64, 4), LONG)[1] == 1
    three = spec(training=batch, machine=MachineSpec(concurrent_micro_batches=3))
    assert choices(three, cpu(64, 4), LONG)[1] == 3
    full = spec(training=batch, tuning=FullTuning())
    assert choices(full, cpu(200, 4), LONG)[1] == 1
    assert choices(three, Place(True, "card", 80 * GB, 80 * GB), LONG)[1] == 1

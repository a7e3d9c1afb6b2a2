"""A run that was stopped and resumed is the run that was never stopped, bit for bit: each method, with all it draws.

Every run has dropout, accumulation, shuffled rows, an uneven last step and evaluations; `-m slow` asks for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.preferences import rows_for
from tests.worker.runs import QUESTIONS, Run, stop_and_resume
from tests.worker.test_resume import adapter_bytes, curve
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.sections import kinds_of
from tuner_tui.runs.events import Evaluated, RunFinished, TrainingStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder

TABLES: dict[str, Any] = {
    "data": {"evaluation_share": 0.2},
    "tuning": {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1},
    "training": {"max_steps": None, "epochs": 3, "batch_size": 4, "micro_batch": 2, "schedule": "cosine"},
    "evaluation": {"every_steps": 2},
    "checkpoints": {"every_steps": 3},
}
GROUPED, PACKED = "grouped by length", "packed"


def orders_of(method: str) -> tuple[str, ...]:
    """The orders that a method's rows can have."""
    if method_traits(method).keeps_order:
        return ("in order",)
    is_packable = "packing" in kinds_of("method")[method].model_fields
    return ("shuffled", GROUPED, PACKED) if is_packable else ("shuffled", GROUPED)


WAYS = tuple((method, order) for method in METHODS for order in orders_of(method))
QUICK = {("sft", PACKED, "fp32"), ("dpo", GROUPED, "fp32")}
"""What no other quick test has."""


def combinations() -> list[Any]:
    """Each method and order in fp32 and NF4."""
    every = [(method, order, precision) for method, order in WAYS for precision in ("fp32", "nf4")]
    return [pytest.param(*way, marks=[] if way in QUICK else [pytest.mark.slow]) for way in every]


@pytest.mark.parametrize(("method", "order", "precision"), combinations())
def test_resumed_is_equal(
    train: Callable[..., Run],
    make_run: Callable[..., RunFolder],
    method: str,
    order: str,
    precision: str,
) -> None:
    rows = questions(12) if method_traits(method).rows == "examples" else rows_for(method, 12)
    tables = TABLES | {"method": {"kind": method}, "model": {"precision": precision}}
    if order == GROUPED:
        tables["training"] = TABLES["training"] | {"group_by_length": True}
    if order == PACKED:
        tables |= {"method": {"kind": method, "packing": True}}
        tables["training"] = TABLES["training"] | {"max_length": 64}
    whole = train(rows, **tables)
    for stop_at in (2, 5):  # as an evaluation is due, and within a later epoch
        resumed = stop_and_resume(make_run(rows, **tables), stop_at)
        assert resumed.last(TrainingStarted).from_step in (stop_at - 1, stop_at)
        assert resumed.last(RunFinished).reason == "complete"
        assert curve(resumed) == curve(whole)
        assert evaluations(resumed) == evaluations(whole)
        assert adapter_bytes(resumed) == adapter_bytes(whole)


def evaluations(run: Run) -> list[tuple[int, float | None]]:
    """(step, loss) of each look at the held-out rows."""
    found = [(event.step, event.loss) for event in run.all(Evaluated)]
    assert len(found) >= 3
    return found


def questions(count: int) -> list[dict[str, str]]:
    """Rows whose lengths differ."""
    return [
        {"question": f"{QUESTIONS[n % 8][0]} {n}", "answer": " ".join([QUESTIONS[n % 8][1]] * (n % 3 + 1))}
        for n in range(count)
    ]

"""A run killed at a random step, and gone on with in a fresh process, is the run that was never disturbed, bit for bit.

`-m slow` asks for all of them. Processes are forked from one that has torch loaded; with TUNER_TEST_COLD set each is
started as the product does.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.home import kill
from tests.faults.scenes import Result
from tests.worker.preferences import rows_for
from tests.worker.test_resume_equality import GROUPED, PACKED, TABLES, WAYS, questions
from tuner_tui.runs.events import RunFailed, RunFinished, StepLogged, WorkerStarted

if TYPE_CHECKING:
    from tests.faults.home import Home, WatchedRun

STEPS = 9
SEED = 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "nf4"])
@pytest.mark.parametrize(("method", "order"), WAYS)
def test_killed_and_gone_on_with_elsewhere_is_equal(
    home: Home,
    method: str,
    order: str,
    precision: str,
) -> None:
    rows = rows_for(method, 12) if method != "sft" else questions(12)
    home.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = make_run(home, "whole", method, order, precision)
    whole.submit()
    assert isinstance(whole.wait_for_end(), RunFinished)

    killed = make_run(home, "killed", method, order, precision)
    killed.submit()
    at = random.Random(f"{SEED} {method} {order} {precision}").randint(1, STEPS - 2)
    killed.wait_for_step(at)
    first = killed.worker_pid()
    kill(first)
    ending = killed.wait_for_end()
    assert isinstance(ending, RunFailed), "it was over before it was killed"
    killed.submit(resume=True)
    assert isinstance(killed.wait_for_end(), RunFinished)
    assert killed.all(WorkerStarted)[-1].pid != first
    assert len(killed.all(StepLogged)) >= STEPS
    assert Result.of(killed) == Result.of(whole)
    assert Result.of(whole).adapter


def make_run(home: Home, name: str, method: str, order: str, precision: str) -> WatchedRun:
    """A run with dropout, accumulation, shuffled rows, an uneven last step and evaluations."""
    tables: dict[str, Any] = TABLES | {
        "data": TABLES["data"] | {"train": str(home.rows)},
        "model": {"source": str(home.model), "precision": precision},
        "method": {"kind": method, **({"packing": True} if order == PACKED else {})},
    }
    more = {GROUPED: {"group_by_length": True}, PACKED: {"max_length": 64}}.get(order, {})
    tables["training"] = TABLES["training"] | more
    return home.make_run(name, **tables)

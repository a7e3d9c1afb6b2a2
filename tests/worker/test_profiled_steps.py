"""A profile of real steps of a tiny model: its parts are the steps' time, and the run is the same with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.runs import Run
from tuner_tui.profiling.profile import PARTS, Profile
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import RequestAccepted, RunFinished, RunStopped, StepLogged, StepsProfiled, Warned
from tuner_tui.runs.profiles import ProfileOrder, read_profile, write_order
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training import profile_figures, profiled_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder

ROWS = [
    {"question": f"Question {number}? " + "why " * number, "answer": "Because " * (1 + number % 5)}
    for number in range(24)
]
STEPS = 14


class Seen:
    """What a profile was computed from."""

    def __init__(self) -> None:
        self.profiler: Any = None
        self.averages: Any = None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Keeps the trace of the profile that a test makes."""
    kept_here = Seen()
    computed = profile_figures.figures

    def figures(profiler: Any, trace: Any) -> Profile:
        kept_here.profiler, kept_here.averages = profiler, trace.key_averages()
        return computed(profiler, trace)

    monkeypatch.setattr(profile_figures, "figures", figures)
    return kept_here


def profile_of(folder: RunFolder, order: ProfileOrder) -> Profile:
    write_order(folder.path, order)
    run = Run(folder, run_job(folder.path))
    assert isinstance(run.events[-1], RunStopped), run.events[-1]
    result = read_profile(folder.path)
    assert result is not None, [event for event in run.events if isinstance(event, Warned)]
    return result


def test_parts_are_the_steps_time(make_run: Callable[..., RunFolder], seen: Seen) -> None:
    folder = make_run(ROWS, training={"max_steps": 1000, "epochs": 900.0, "batch_size": 4, "micro_batch": 2})
    result = profile_of(folder, ProfileOrder(warm_up=3, measured=4, plain=3))
    import json, msgspec
    print(json.dumps(msgspec.to_builtins(result), indent=1))
    for row in seen.averages.table(sort_by="cpu_time_total", row_limit=25).splitlines(): print(row)
    assert 0

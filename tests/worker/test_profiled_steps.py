"""A profile of real steps of a tiny model: its parts are the steps' time, and the run is the same with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.runs import Run
from tuner_tui.profiling.profile import PARTS, Profile
from tuner_tui.profiling.timeline import Interval, Threads
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import RequestAccepted, RunFinished, RunStopped, StepLogged, StepsProfiled, Warned
from tuner_tui.runs.profiles import ProfileOrder, read_profile, write_order
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training import profile_figures, step_time
from tuner_tui.worker.training.trace_events import Recorded, nest

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
    monkeypatch.setattr(profile_figures, "MOST_OPERATORS", 10_000)  # all of them
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
    measured = seen.profiler.measured
    assert [part.name for part in result.parts] == list(PARTS)
    assert (result.first_step, result.steps, len(measured)) == (4, 4, 4)
    wall = 1000 * sum(step.seconds for step in measured) / 4
    assert result.ms(*PARTS) == pytest.approx(wall, rel=0.05)
    assert result.ms(*PARTS) == pytest.approx(result.step_ms)
    assert sum(part.share for part in result.parts) == pytest.approx(1.0)
    assert all(part.ms > 0 for part in result.parts)
    assert all(part.thread_ms == pytest.approx(part.ms) for part in result.parts if part.name != "waiting")

    totals = {average.key: average.cpu_time_total / 4000 for average in seen.averages}  # ms per step
    prefix = step_time.PREFIX
    assert totals["ProfilerStep*"] == pytest.approx(wall, rel=0.05)
    assert result.ms("forward") == pytest.approx(totals[f"{prefix}forward"])
    assert result.ms("backward") == pytest.approx(totals[f"{prefix}backward"])
    assert result.ms("head") == pytest.approx(totals[f"{prefix}head"] - totals[f"{prefix}forward"])
    assert 0 < result.head_backward_ms < result.ms("backward")
    in_parts = Counter({average.key: average.self_cpu_time_total / 4000 for average in seen.averages})
    for name in ("aten::mm", "aten::_scaled_dot_product_flash_attention_for_cpu_backward"):
        ours = sum(operator.ms for operator in result.operators if operator.name == name)
        assert ours == pytest.approx(in_parts[name], rel=0.02)


def test_tokens_are_counted(make_run: Callable[..., RunFolder], seen: Seen) -> None:
    folder = make_run(ROWS, training={"max_steps": 1000, "epochs": 900.0, "batch_size": 4, "micro_batch": 2})
    result = profile_of(folder, ProfileOrder(warm_up=2, measured=2, plain=2))
    logged = {event.step: event.tokens for event in Run(folder, 0).all(StepLogged)}
    assert result.first_step == 3
    assert result.tokens == (logged[3] + logged[4]) / 2
    assert result.padded_tokens > result.tokens > (result.tokens_with_loss or 0) > 0
    assert result.rows == 4
    assert len(logged) == 6


@pytest.mark.parametrize(
    "tables", [{}, {"tuning": {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.2}}]
)
def test_a_profiled_run_is_the_same_run(make_run: Callable[..., RunFolder], tables: dict[str, Any]) -> None:
    options = {"training": {"max_steps": STEPS, "batch_size": 4, "micro_batch": 2}, **tables}
    plain = make_run(ROWS, **options)
    run_job(plain.path)
    folder = make_run(ROWS, **options)
    asked = leave_request(folder, "profile")
    profiled = Run(folder, run_job(folder.path))
    assert profiled.last(RequestAccepted).id == asked and isinstance(profiled.events[-1], RunFinished)
    assert profiled.losses == Run(plain, 0).losses and len(profiled.losses) == STEPS
    norms = [[event.grad_norm for event in Run(run, 0).all(StepLogged)] for run in (plain, folder)]
    assert norms[0] == norms[1]
    weights = [(run.adapter / "adapter_model.safetensors").read_bytes() for run in (plain, folder)]
    assert weights[0] == weights[1]
    result, event = read_profile(folder.path), profiled.last(StepsProfiled)
    assert result is not None and read_profile(plain.path) is None
    assert (event.first_step, event.steps) == (result.first_step, result.steps)
    assert result.steps == 5 and result.outside.evaluation_ms is not None
    assert not [warning for warning in profiled.all(Warned) if "profile" in warning.message]


def test_micro_batches_at_the_same_time_are_counted_in_each_thread(
    make_run: Callable[..., RunFolder], seen: Seen
) -> None:
    folder = make_run(
        ROWS,
        training={"max_steps": 1000, "epochs": 900.0, "batch_size": 4, "micro_batch": 2},
        machine={"device": "cpu", "concurrent_micro_batches": 2},
    )
    result = profile_of(folder, ProfileOrder(warm_up=2, measured=3, plain=1))
    assert (result.settings.concurrent, result.settings.accumulation) == (2, 2)
    wall = 1000 * sum(one.seconds for one in seen.profiler.measured) / 3
    assert result.ms(*PARTS) == pytest.approx(wall, rel=0.05)
    beside = {part.name: part.thread_ms / part.ms for part in result.parts if part.ms}
    assert 1.2 < beside["forward"] <= 2.001 and 1.2 < beside["backward"] <= 2.001
    assert result.ms("forward", "head", "backward") > 0.5 * wall
    averages = {average.key: average.cpu_time_total / 3000 for average in seen.averages}
    by_name = {part.name: part for part in result.parts}
    assert by_name["forward"].thread_ms == pytest.approx(averages[f"{step_time.PREFIX}forward"], rel=0.02)
    assert by_name["backward"].thread_ms == pytest.approx(averages[f"{step_time.PREFIX}backward"], rel=0.02)


@pytest.mark.parametrize("tables", [
    {"method": {"kind": "dpo"}}, {"tuning": {"kind": "full"}}, {"training": {"checkpointing": "on"}},
])  # fmt: skip
def test_other_methods_and_tunings_have_every_part(
    make_run: Callable[..., RunFolder], seen: Seen, tables: dict[str, Any]
) -> None:
    rows: list[dict[str, Any]] = ROWS
    if "method" in tables:
        rows = [{"prompt": row["question"], "chosen": row["answer"], "rejected": "No."} for row in ROWS]
    training = {"max_steps": 1000, "epochs": 900.0, "batch_size": 4, "micro_batch": 2}
    folder = make_run(rows, **{**tables, "training": {**training, **tables.get("training", {})}})
    result = profile_of(folder, ProfileOrder(warm_up=2, measured=2, plain=1))
    assert all(part.ms > 0 for part in result.parts)
    passes = next(one.count for one in seen.averages if one.key == f"{step_time.PREFIX}forward")
    assert passes == 2 * 2 * (2 if "method" in tables else 1), "micro-batches of two steps, a reference's too"
    assert result.rows == 4 and result.head_backward_ms > 0
    assert result.settings.is_checkpointing == ("training" in tables)


def test_a_profile_that_fails_does_not_end_the_run(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUPTI is missing")

    monkeypatch.setattr(profile_figures, "figures", broken)
    folder = make_run(ROWS, training={"max_steps": STEPS, "batch_size": 4})
    leave_request(folder, "profile")
    run = Run(folder, run_job(folder.path))
    assert isinstance(run.events[-1], RunFinished)
    assert "CUPTI is missing" in run.last(Warned).message
    assert not run.all(StepsProfiled)


def test_a_run_that_ends_meanwhile_ends_as_usual(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(ROWS, training={"max_steps": 4, "batch_size": 4})
    leave_request(folder, "profile")
    run = Run(folder, run_job(folder.path))
    assert isinstance(run.events[-1], RunFinished) and not run.all(StepsProfiled)


def marked(part: str, thread: int, start: float, end: float) -> Recorded:
    return Recorded(f"{step_time.PREFIX}{part}", thread, start, end, is_range=True)


def test_kernels_belong_to_the_part_that_launched_them() -> None:
    events = [
        marked("forward", 1, 0, 10),
        marked("backward", 1, 10, 30),
        Recorded("aten::mm", 1, 2, 4, number=3),
        Recorded("aten::mm", 77, 15, 16, number=4),  # in autograd's own thread
        Recorded("gemm", 0, 12, 19, 6, launcher=3, is_on_cpu=False),
        Recorded("gemm", 0, 19, 26, 7, launcher=4, is_on_cpu=False),
        Recorded(f"{step_time.PREFIX}forward", 0, 12, 19, 8, is_on_cpu=False, is_range=True),
    ]
    threads = Threads(profile_figures._spans(events, 1), 1)
    assert profile_figures._kernels(events, threads) == [("forward", 12, 19), ("backward", 19, 26)]
    operators = profile_figures._operators(events, threads, [Interval(0, 30)], 1, on_gpu=True)
    assert [(each.name, each.part, each.ms) for each in operators] == [
        ("aten::mm", "forward", 0.007), ("aten::mm", "backward", 0.007),
    ]  # fmt: skip


def test_the_beginning_of_a_backward_pass_is_the_heads() -> None:
    done = step_time.HEAD_DONE
    events = [
        marked("backward", 1, 0, 9), marked(done, 1, 2, 2.1), marked("backward", 5, 4, 8), marked(done, 5, 5, 5.1),
    ]  # fmt: skip
    heads = [span for span in profile_figures._spans(events, 1) if span.part == profile_figures.HEAD_BACKWARD]
    assert [(span.thread, span.start, span.end) for span in heads] == [(1, 0, 2), (5, 4, 5)]
    on_gpu = [marked("backward", 1, 0, 9), marked(done, 77, 3, 3.1)]
    heads = [span for span in profile_figures._spans(on_gpu, 1) if span.part == profile_figures.HEAD_BACKWARD]
    assert [(span.thread, span.start, span.end) for span in heads] == [(1, 0, 3)]


def test_own_times_leave_out_what_was_called() -> None:
    outer, called, deeper = (
        Recorded("aten::linear", 1, 0, 10), Recorded("aten::addmm", 1, 2, 9), Recorded("aten::copy_", 1, 3, 4),
    )  # fmt: skip
    around, other = marked("forward", 1, 0, 12), Recorded("aten::mul", 2, 0, 5)
    nest([deeper, outer, around, called, other])
    assert [event.own for event in (around, outer, called, deeper, other)] == [2, 3, 6, 1, 5]
    assert [event.is_outermost for event in (around, outer, called, deeper, other)] == [
        True,
        True,
        False,
        False,
        True,
    ]

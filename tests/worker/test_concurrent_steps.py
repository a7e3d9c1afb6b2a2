"""Micro-batches computed at the same time give what they give one after another, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from tests.worker.preferences import rows_for
from tests.worker.runs import Run, stop_and_resume
from tests.worker.test_resume import adapter_bytes, curve
from tests.worker.test_resume_equality import questions
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.planning.choices import CONCURRENT
from tuner_tui.runs.events import ChoicesMade, Evaluated, RunFinished, StepLogged
from tuner_tui.worker.training import concurrency, concurrent_steps
from tuner_tui.worker.training.concurrent_steps import ConcurrentSteps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner_tui.runs.folder import RunFolder

TABLES: dict[str, Any] = {
    "data": {"evaluation_share": 0.2},
    "tuning": {"kind": "lora", "rank": 4, "alpha": 8.0},
    "training": {"max_steps": None, "epochs": 2, "batch_size": 6, "micro_batch": 2, "schedule": "cosine"},
    "evaluation": {"every_steps": 2},
}
QUICK = ("sft", "dpo", "cpo")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of several threads may differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def machine(concurrent: int) -> dict[str, Any]:
    return {"machine": {"device": "cpu", "concurrent_micro_batches": concurrent}}


def rows_of(method: str) -> list[dict[str, Any]]:
    count = 17  # the last step of an epoch is uneven
    return questions(count) if method_traits(method).rows == "examples" else rows_for(method, count)


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many micro-batches were under way at the most, in each run."""
    under_way, most = 0, [0]
    once = ConcurrentSteps._each

    def counting(self: ConcurrentSteps, compute: Callable[[int], Any], count: int) -> list[Any]:
        nonlocal under_way

        def counted(place: int) -> Any:
            nonlocal under_way
            under_way += 1
            most[0] = max(most[0], under_way)
            try:
                return compute(place)
            finally:
                under_way -= 1

        return once(self, counted, count)

    monkeypatch.setattr(concurrent_steps.ConcurrentSteps, "_each", counting)
    return most


@pytest.mark.parametrize(
    "method", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in METHODS]
)
def test_they_train_the_same_adapter(train: Callable[..., Run], most_at_once: list[int], method: str) -> None:
    tables = TABLES | {"method": {"kind": method}}
    one_by_one = train(rows_of(method), **tables, **machine(1))
    assert most_at_once == [0]
    together = train(rows_of(method), **tables, **machine(2))
    assert most_at_once == [2]
    assert together.last(RunFinished).reason == "complete"
    assert curve(together) == curve(one_by_one)
    assert adapter_bytes(together) == adapter_bytes(one_by_one)
    figures = [(event.loss, event.metrics) for event in together.all(Evaluated)]
    assert figures == [(event.loss, event.metrics) for event in one_by_one.all(Evaluated)]
    figures = [(event.loss, event.metrics) for event in together.all(StepLogged)]
    assert figures == [(event.loss, event.metrics) for event in one_by_one.all(StepLogged)]
    assert [event.tokens for event in together.all(StepLogged)] == [
        event.tokens for event in one_by_one.all(StepLogged)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "tables", [{"model": {"precision": "nf4"}}, {"training": {"checkpointing": "on"}}], ids=str
)
def test_they_do_so_with_quantised_weights_and_recomputed_activations(
    train: Callable[..., Run], most_at_once: list[int], tables: dict[str, Any]
) -> None:
    asked = {name: TABLES.get(name, {}) | tables.get(name, {}) for name in {*TABLES, *tables}}
    one_by_one = train(rows_of("sft"), **asked, **machine(1))
    together = train(rows_of("sft"), **asked, **machine(3))
    assert most_at_once[0] > 1
    assert curve(together) == curve(one_by_one)
    assert adapter_bytes(together) == adapter_bytes(one_by_one)


def test_a_resumed_run_is_equal(train: Callable[..., Run], make_run: Callable[..., RunFolder]) -> None:
    tables = TABLES | machine(2) | {"checkpoints": {"every_steps": 3}}
    whole = train(rows_of("sft"), **tables)
    resumed = stop_and_resume(make_run(rows_of("sft"), **tables), 4)
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_rows_than_a_step_has(train: Callable[..., Run], count: int) -> None:
    training = TABLES["training"] | {"micro_batch": 1}
    one_by_one, together = (
        train(questions(count), training=training, **machine(concurrent)) for concurrent in (1, 2)
    )
    assert together.last(RunFinished).reason == "complete"
    assert curve(together) == curve(one_by_one)


def reasons(run: Run) -> list[str]:
    choices = [choice for event in run.all(ChoicesMade) for choice in event.choices]
    return [choice.reason for choice in choices if choice.name == CONCURRENT and choice.value == "1"]


def test_dropout_keeps_them_one_after_another(train: Callable[..., Run], most_at_once: list[int]) -> None:
    tables = TABLES | machine(2) | {"tuning": TABLES["tuning"] | {"dropout": 0.1}}
    run = train(rows_of("sft"), **tables)
    assert reasons(run) == ["dropout draws from one random state"]
    assert most_at_once == [0]


class Shared(nn.Module):
    """Adds what another thread may change meanwhile."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.calls = layer, 0

    def forward(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        return self.layer(*given, **named) * (1 + self.calls)


def test_a_model_with_a_state_is_found_by_the_trial(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, most_at_once: list[int]
) -> None:
    begin = concurrency.what_prevents

    def with_a_state(trainer: Any) -> str:
        layer = trainer.model.get_base_model().model.layers[0]
        layer.mlp = Shared(layer.mlp)
        return begin(trainer)

    monkeypatch.setattr(concurrency, "what_prevents", with_a_state)
    run = train(rows_of("sft"), **TABLES, **machine(2))
    assert reasons(run) == ["this model gives other gradients then"]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Dropout(0.1), "dropout draws from one random state"),
        (nn.Dropout(0.0), ""),
        (type("Rotary", (nn.Module,), {"rope_type": "longrope"})(), "longrope RoPE changes its frequencies"),
        (type("Linear8bitLt", (nn.Linear,), {})(2, 2), "int8 layers keep a state"),
        (type("Attention", (nn.Module,), {})(), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_what_is_known_to_prevent_it(module: nn.Module, reason: str) -> None:
    trainer = type("Trainer", (), {"model": nn.Sequential(module)})()
    trainer.args = type("Arguments", (), {"device": torch.device("cpu")})()
    found = concurrency.what_prevents(trainer)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_gradients_that_autograd_shares_are_not_added_twice() -> None:
    class Plain:
        accelerator = type("Accelerator", (), {"gradient_accumulation_steps": 1})()
        profiler = None

    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    for _ in range(2):
        part = concurrent_steps._Part(Plain(), [one, other])
        part.accelerator.backward((one + other).sum())
        part.add_to(Plain(), [one, other])
    for parameter in (one, other):
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [2.0, 2.0]


def test_an_error_in_one_ends_the_step_after_the_others(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def failing(place: int) -> int:
        if place == 0:
            raise ValueError("the first")
        ended.append(place)
        return place

    trainer = ConcurrentSteps()
    trainer.concurrent = 2
    with pytest.raises(ValueError, match="the first"):
        trainer._each(failing, 4)
    assert sorted(ended) == [1, 2, 3]

"""The options of the training loop do what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.runs.events import ChoicesMade, RunFinished, StepLogged, TrainingStarted, Warned

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.runs import Run


def test_the_micro_batch_does_not_change_what_is_learnt(train: Callable[..., Run]) -> None:
    runs = [train(training={"max_steps": 4, "micro_batch": micro}) for micro in (4, 2, 1)]
    for run, micro in zip(runs, (4, 2, 1), strict=True):
        started = run.last(TrainingStarted)
        assert (started.micro_batch, started.accumulation) == (micro, 4 // micro)
        assert run.losses == pytest.approx(runs[0].losses, abs=1e-5)
        assert [step.tokens for step in run.all(StepLogged)] == [
            step.tokens for step in runs[0].all(StepLogged)
        ]


def test_an_uneven_last_batch_weighs_tokens_alike(train: Callable[..., Run]) -> None:
    runs = [train(training={"max_steps": 3, "batch_size": 6, "micro_batch": micro}) for micro in (6, 3, 1)]
    for run in runs:
        assert run.losses == pytest.approx(runs[0].losses, abs=1e-5)


def rates(run: Run) -> list[float]:
    return [step.learning_rate or 0.0 for step in run.all(StepLogged)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("constant_with_warmup", [0, 0.5, 1, 1]),
        ("linear", [0, 0.5, 1, 0.5]),
        ("cosine", [0, 0.5, 1, 0.5]),
        ("cosine_with_min_lr", [0, 0.5, 1, 0.55]),
    ],
)
def test_schedules_shape_the_learning_rate(
    train: Callable[..., Run], schedule: str, expected: list[float]
) -> None:
    run = train(
        training={
            "max_steps": 4,
            "schedule": schedule,
            "warmup": 0 if schedule == "constant" else 0.5,
            "learning_rate": 1e-3,
        }
    )
    assert rates(run) == pytest.approx([1e-3 * share for share in expected])


def test_clipping_bounds_the_step_and_zero_turns_it_off(train: Callable[..., Run]) -> None:
    def second_loss(norm: float) -> float:
        run = train(
            training={"max_steps": 2, "max_grad_norm": norm, "optimizer": "sgd", "learning_rate": 1.0}
        )
        assert all(step.grad_norm for step in run.all(StepLogged))
        return run.losses[1] or 0.0

    unclipped, tight, loose = second_loss(0), second_loss(1e-6), second_loss(1000)
    assert unclipped == loose != tight


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "adafactor", "sgd"])
def test_optimizers_learn(train: Callable[..., Run], optimizer: str) -> None:
    rate = 1.0 if optimizer == "sgd" else 2e-2
    run = train(training={"max_steps": 6, "optimizer": optimizer, "learning_rate": rate})
    assert run.exit_code == 0
    assert (run.losses[-1] or 9) < (run.losses[0] or 0) - 0.01


def test_checkpointing_computes_the_same(train: Callable[..., Run]) -> None:
    plain, recomputed = (train(training={"checkpointing": switch}) for switch in ("off", "on"))
    assert recomputed.losses == pytest.approx(plain.losses, abs=1e-6)


def test_weight_decay_pulls(train: Callable[..., Run]) -> None:
    with_decay, without = (train(training={"weight_decay": decay}) for decay in (1.0, 0.0))
    assert with_decay.losses[0] == without.losses[0]
    assert with_decay.losses[-1] != without.losses[-1]


def test_group_by_length_puts_like_rows_together(train: Callable[..., Run]) -> None:
    rows = [{"text": "a" * length} for length in (3, 90, 4, 91, 3, 90, 4, 91) * 2]
    grouped, mixed = (
        train(rows, training={"batch_size": 2, "max_steps": 8, "group_by_length": on}) for on in (True, False)
    )

    def uneven(run: Run) -> int:
        return sum(step.tokens not in range(6, 14) and step.tokens < 180 for step in run.all(StepLogged))

    assert uneven(grouped) < uneven(mixed)
    assert sum(step.tokens for step in grouped.all(StepLogged)) == sum(
        step.tokens for step in mixed.all(StepLogged)
    )


def test_epochs_count_rows_and_the_seed_orders_them(train: Callable[..., Run]) -> None:
    def tokens(**training: Any) -> list[int]:
        run = train(training={"max_steps": None, "batch_size": 4, **training})
        assert run.last(RunFinished).step == run.last(TrainingStarted).total_steps
        return [step.tokens for step in run.all(StepLogged)]

    whole = tokens(epochs=2)
    assert len(whole) == 4 and sum(whole[:2]) == sum(whole[2:]) == 351
    assert len(tokens(epochs=1.5)) == 3
    assert tokens(epochs=2) == whole != tokens(epochs=2, seed=7)


def test_choices_are_said_with_a_reason(train: Callable[..., Run]) -> None:
    run = train(training={"max_steps": 1, "batch_size": 6})
    choices = {choice.name: choice for event in run.all(ChoicesMade) for choice in event.choices}
    assert (choices["device"].value, choices["precision"].value) == ("cpu", "fp32")
    assert choices["micro-batch"].value == "6"
    assert all(choice.reason for choice in choices.values())


@pytest.mark.parametrize(("steps", "is_told"), [(1, True), (2, False)])
def test_a_run_too_short_for_its_warm_up_is_told(
    train: Callable[..., Run], steps: int, is_told: bool
) -> None:
    run = train(training={"max_steps": steps, "schedule": "cosine", "warmup": 0.05})
    assert run.last(RunFinished).step == steps
    assert rates(run)[0] == 0
    messages = [warned.message for warned in run.all(Warned)]
    assert any("no weight changes" in message for message in messages) is is_told

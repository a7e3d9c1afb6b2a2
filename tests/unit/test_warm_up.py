"""A run that ends within its warm-up is told, by the schedule that transformers makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tuner_tui.cli.train import train
from tuner_tui.config.spec import RunSpec
from tuner_tui.planning.warm_up import short_run, steps_of

if TYPE_CHECKING:
    from pathlib import Path


def spec_of(**training: Any) -> RunSpec:
    tables: dict[str, Any] = {"model": {"source": "x/y"}, "data": {"train": "rows.jsonl"}}
    return RunSpec.model_validate({**tables, "training": training})


@pytest.mark.parametrize(
    "schedule", ["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"]
)
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 20])
def test_it_is_told_where_the_learning_rate_stays_below_its_peak(
    schedule: str, warmup: float, steps: int
) -> None:
    import torch
    from transformers import TrainingArguments, get_scheduler

    spec = spec_of(schedule=schedule, warmup=warmup, max_steps=steps)
    arguments = TrainingArguments(output_dir="unused", warmup_steps=warmup, report_to="none")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    options = {"min_lr_rate": 0.1} if schedule == "cosine_with_min_lr" else None
    scheduler = get_scheduler(
        schedule, optimizer, arguments.get_warmup_steps(steps), steps, scheduler_specific_kwargs=options
    )
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    warning = short_run(spec, steps)
    assert (warning is not None) is (max(rates) < 1.0)
    if warning is not None and not any(rates):
        assert "no weight changes" in warning.message


@pytest.mark.parametrize(
    ("rows", "training", "steps"),
    [
        (8, {}, 3),  # three epochs are the default
        (9, {"epochs": 1}, 2),
        (5, {"epochs": 1}, 1),
        (17, {"epochs": 0.5}, 2),
        (1000, {"max_steps": 1}, 1),
    ],
)
def test_steps_are_counted_as_the_trainer_does(rows: int, training: dict[str, Any], steps: int) -> None:
    assert steps_of(spec_of(**training), rows) == steps


@pytest.mark.parametrize(("settings", "is_warned"), [((), True), (("training.warmup=0",), False)])
def test_the_check_says_it(
    tmp_path: Path, tiny_model: Path, settings: tuple[str, ...], is_warned: bool
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": "Why?", "answer": f"{n}."}) + "\n" for n in range(4)))
    (tmp_path / "run.toml").write_text(
        f'[model]\nsource = "{tiny_model}"\n[data]\ntrain = "{rows}"\n[training]\nepochs = 1\n'
    )
    options = [word for setting in settings for word in ("--set", setting)]
    outcome = CliRunner().invoke(train, [str(tmp_path / "run.toml"), "--check", *options])
    assert outcome.exit_code == 0
    assert "can be used" in outcome.output
    assert ("no weight changes" in outcome.output) is is_warned

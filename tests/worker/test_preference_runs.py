"""Runs that learn from what people prefer: gone on with, in uneven steps, from an adapter, and going wrong."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from tests.worker.preferences import METHODS, pairs, rated, rows_for
from tests.worker.runs import Run, stop_and_resume
from tests.worker.test_precisions import tensors_of
from tests.worker.test_resume import adapter_bytes, curve
from tuner_tui.errors import InputError
from tuner_tui.planning.plan import decode_plan
from tuner_tui.runs.events import (
    CheckpointSaved,
    DataPrepared,
    Evaluated,
    RunFailed,
    RunFinished,
    Sampled,
    StepLogged,
    TrainingStarted,
    Warned,
)
from tuner_tui.runs.export_events import Checked, Event, ExportRequest
from tuner_tui.runs.lineage import ancestors
from tuner_tui.sharing.export import ExportOptions, check_options
from tuner_tui.sharing.run_facts import read_facts
from tuner_tui.worker.training.chosen_likelihood import WINDOW, FallWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

DROPOUT = {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1}
EPOCHS = {"max_steps": None, "epochs": 3, "batch_size": 4, "micro_batch": 2, "schedule": "cosine"}


@pytest.mark.parametrize(
    ("method", "precision", "training"),
    [
        ("dpo", "nf4", {}),
        pytest.param("dpo", "fp32", {"group_by_length": True}, marks=pytest.mark.slow),
        ("kto", "fp32", {}),
        pytest.param("cpo", "bf16", {}, marks=pytest.mark.slow),
        pytest.param("alphapo", "fp32", {}, marks=pytest.mark.slow),
        ("orpo", "fp32", {"group_by_length": True}),
        ("reward", "int8", {}),
    ],
)
def test_resume_is_exact(
    train: Callable[..., Run],
    make_run: Callable[..., RunFolder],
    method: str,
    precision: str,
    training: dict[str, Any],
) -> None:
    tables = {
        "method": {"kind": method},
        "model": {"precision": precision},
        "tuning": DROPOUT,
        "training": EPOCHS | training,
    }
    rows = rows_for(method, 8 if method != "kto" else 5)  # an uneven last step for kto
    whole = train(rows, **tables)
    resumed = stop_and_resume(make_run(rows, **tables), 4)
    assert resumed.last(TrainingStarted).from_step in (3, 4)
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)


@pytest.mark.parametrize(
    ("method", "micros"),
    [
        ({"kind": "dpo"}, (4, 2, 1)),
        pytest.param({"kind": "dpo", "sft_weight": 0.7}, (4, 2, 1), marks=pytest.mark.slow),
        pytest.param({"kind": "cpo", "sft_weight": 0.0}, (4, 2, 1), marks=pytest.mark.slow),
        ({"kind": "cpo", "sft_weight": 0.7}, (4, 2, 1)),
        ({"kind": "orpo"}, (4, 2, 1)),
        pytest.param({"kind": "alphapo"}, (4, 2, 1), marks=pytest.mark.slow),
        ({"kind": "reward"}, (4, 2, 1)),
        ({"kind": "kto", "loss": "apo_zero_unpaired"}, (4, 2)),
    ],
    ids=lambda each: each["kind"] if isinstance(each, dict) else "",
)
def test_the_micro_batch_does_not_change_what_is_learnt(
    train: Callable[..., Run], method: dict[str, Any], micros: tuple[int, ...]
) -> None:
    rows = rated(4)[:-1] if method["kind"] == "kto" else pairs(7)  # each epoch ends in a step of three rows
    for place, row in enumerate(
        rows
    ):  # answers of other lengths, so that a mean over tokens is none over rows
        answer = row["chosen" if "chosen" in row else "completion"][0]
        answer["content"] += " and on" * (5 * place)
    runs = [
        train(rows, method=method, training={"max_steps": 4, "batch_size": 4, "micro_batch": micro})
        for micro in micros
    ]
    for run in runs[1:]:
        assert run.losses == pytest.approx(runs[0].losses, rel=2e-5)
        norms = [[step.grad_norm for step in each.all(StepLogged)] for each in (runs[0], run)]
        assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_every_method_starts_from_an_adapter_and_keeps_it(
    train: Callable[..., Run], make_run: Callable[..., RunFolder]
) -> None:
    sft = train(training={"max_steps": 2}, tuning={"rank": 2, "alpha": 6.0})
    begun = tensors_of(sft.folder.adapter / "adapter_model.safetensors")
    for method in (*METHODS, "sft"):
        precision = "nf4" if method in ("dpo", "orpo", "reward") else "fp32"
        run = train(
            rows_for(method) if method != "sft" else None,
            method={"kind": method},
            model={"adapter": sft.folder.name, "precision": precision},
            training={"max_steps": 1, "learning_rate": 1e-9},
        )
        assert run.last(RunFinished).step == 1, (method, run.events[-1])
        saved = tensors_of(run.folder.adapter / "adapter_model.safetensors")
        assert set(begun) <= set(saved), method
        assert all(torch.allclose(saved[name], begun[name], atol=1e-7) for name in begun), method
        assert not (run.folder.adapter / "ref").exists()
        config = json.loads((run.folder.adapter / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"]) == (2, 6.0)
        assert ancestors(run.folder) == [sft.folder.name]
        plan = decode_plan(run.folder.plan.read_bytes())
        assert plan.start is not None and plan.start.is_run
        assert "rank 2, alpha 6" in {choice.value for choice in plan.choices}


def test_a_run_from_an_adapter_goes_on_exactly_when_that_is_gone(
    train: Callable[..., Run], make_run: Callable[..., RunFolder]
) -> None:
    from tuner_tui.cli.runs import runs

    sft = train(training={"max_steps": 3})
    tables = {
        "method": {"kind": "dpo"},
        "model": {"adapter": sft.folder.name, "precision": "nf4"},
        "tuning": DROPOUT,
        "training": EPOCHS,
    }
    whole = train(pairs(), **tables)
    folder = make_run(pairs(), **tables)
    shutil.rmtree(sft.folder.path)
    resumed = stop_and_resume(folder, 3)
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)
    kept = resumed.folder.path / resumed.last(CheckpointSaved).path
    assert not (kept / "ref").exists()
    shown = CliRunner().invoke(runs, ["show", str(folder.path)])
    assert f"started from   {sft.folder.name}" in shown.output
    assert "reward of chosen" in shown.output and "margin" in shown.output


def test_over_long_pairs_are_counted_and_said(train: Callable[..., Run]) -> None:
    rows = pairs(4)
    rows[1]["prompt"][0]["content"] *= 50
    rows[2]["chosen"][0]["content"] *= 50
    for method, dropped in (("dpo", 1), ("reward", 2)):
        run = train(
            rows,
            method={"kind": method},
            data={"allow": ("nothing_trained",)},
            training={"max_steps": 1, "max_length": 120},
        )
        prepared = run.last(DataPrepared)
        assert (prepared.rows, prepared.dropped_rows) == (4 - dropped, dropped)
        assert prepared.cut_rows == (1 if method == "dpo" else 0)
        (warning,) = [each for each in run.all(Warned) if "no token with loss within" in each.message]
        assert "(lines 2, 3)" in warning.message if method == "reward" else "(line 2)" in warning.message


def test_held_out_pairs_are_measured(train: Callable[..., Run]) -> None:
    for method, figure in (
        ("dpo", "rewards/accuracies"),
        ("orpo", "rewards/accuracies"),
        ("reward", "accuracy"),
    ):
        run = train(
            pairs(),
            method={"kind": method},
            data={"evaluation_share": 0.25},
            training={"max_steps": 2},
            evaluation={"every_steps": 2},
        )
        measured = run.last(Evaluated)
        assert measured.loss is not None
        assert 0 <= measured.metrics[figure] <= 1, (method, measured.metrics)


def test_a_reward_model_says_that_it_takes_no_samples(train: Callable[..., Run]) -> None:
    run = train(pairs(), method={"kind": "reward"}, samples={"prompts": ["Why?"]}, training={"max_steps": 1})
    assert not run.all(Sampled)
    assert any("scores, not text" in each.message for each in run.all(Warned))


def test_a_learning_rate_that_breaks_the_loss_ends_in_one_clear_event(train: Callable[..., Run]) -> None:
    run = train(
        pairs(),
        method={"kind": "dpo", "loss": "sppo_hard", "beta": 1e-3},
        tuning={"alpha": 4096.0},
        training={"max_steps": 30, "learning_rate": 1.0, "max_grad_norm": 0, "optimizer": "sgd"},
    )
    failure = run.last(RunFailed)
    assert failure.kind == "not_finite"
    assert "learning_rate" in failure.hint
    assert not run.folder.adapter.exists()


def test_no_step_is_made_on_rows_that_cannot_be_used(train: Callable[..., Run]) -> None:
    rows = pairs(3)
    rows[1]["rejected"] = rows[1]["chosen"]
    run = train(rows, method={"kind": "dpo"})
    assert "rows.jsonl:2" in run.last(RunFailed).message
    run = train([row | {"label": True} for row in rated(3)], method={"kind": "kto"})
    assert "every label is true" in run.last(RunFailed).message
    assert not run.all(StepLogged)


def test_a_fall_of_both_is_told_once() -> None:
    def told(beta: float | None, chosen: float, rejected: float) -> int:
        watch = FallWatch(beta)
        steps = []
        for step in range(4 * WINDOW):
            metrics = {"logps/chosen": -100 + chosen * step, "logps/rejected": -100 + rejected * step}
            metrics |= {"rewards/chosen": 0.1 * chosen * step, "rewards/rejected": 0.1 * rejected * step}
            steps.append(watch.has_fallen(metrics))
        return sum(steps)

    for beta in (0.1, None):
        assert told(beta, -1.0, -2.0) == 1
        assert told(beta, 0.5, -2.0) == 0
        assert told(beta, -0.01, -2.0) == 0  # less than 5 % of itself
    assert FallWatch(0.1).has_fallen({"accuracy": 1.0}) is False


def test_a_reward_models_adapter_is_exported_with_its_head_and_scores_the_same(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    from tuner_tui.worker.export.check import check_form
    from tuner_tui.worker.export.write import write_form

    run = train(pairs(), method={"kind": "reward"}, training={"max_steps": 2})
    out = tmp_path / "export"
    out.mkdir()
    request = ExportRequest(
        run=str(run.folder.path),
        form="adapter",
        out=str(out),
        events="",
        precision="fp32",
        compute="fp32",
        prompts=("Why?", "Who goes there, at noon?"),
    )
    said: list[Event] = []
    write_form(request, said.append)
    check_form(request, said.append)
    (checked,) = [each for each in said if isinstance(each, Checked)]
    assert checked.agreement.equal_answers == 2
    assert any("score" in name for name in tensors_of(out / "adapter_model.safetensors"))
    with pytest.raises(InputError, match="outputs scores, not text"):
        check_options(read_facts(run.folder), ExportOptions("merged", tmp_path / "merged"))

"""The held-out loss is the sum of all losses over the count of what has one, whatever the micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.worker.preferences import rows_for
from tests.worker.runs import write_rows
from tuner_tui.runs.events import Evaluated, TrainingStarted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

WORDS = ("a", "two words", "some three words", "quite a lot of words to be said in one answer, really")
HELD_OUT = [{"question": f"What is {n}?", "answer": f"{WORDS[n % 4]} {n}" * (n % 3 + 1)} for n in range(11)]


def held_out_losses(
    train: Callable[..., Run],
    held_out: str,
    micros: tuple[int, ...],
    rows: list[dict[str, Any]] | None = None,
    training: dict[str, Any] | None = None,
    **tables: Any,
) -> list[list[Evaluated]]:
    """What is said of the same held-out rows after the same steps, computed in each micro-batch."""
    evaluated = []
    for micro in micros:
        wanted = {"max_steps": 2, **(training or {}), "batch_size": 8, "micro_batch": micro}
        data, schedule = {"evaluation": held_out}, {"every_steps": 1}
        run = train(rows, data=data, evaluation=schedule, training=wanted, **tables)
        assert run.exit_code == 0, run.events[-1]
        assert run.last(TrainingStarted).micro_batch == micro
        evaluated.append(run.all(Evaluated))
    return evaluated


def test_it_is_the_sum_of_token_losses_over_their_count(
    train: Callable[..., Run], tmp_path: Path, tiny_model: Path
) -> None:
    held_out = write_rows(tmp_path / "held-out.jsonl", HELD_OUT)
    runs = held_out_losses(
        train,
        str(held_out),
        (1, 2, 4, 8),
        training={"max_steps": 1, "learning_rate": 1e-12},
    )
    expected, correct = by_hand(tiny_model)
    for [evaluated] in runs:
        assert evaluated.loss == pytest.approx(expected, abs=1e-5)
        assert evaluated.metrics["mean_token_accuracy"] == pytest.approx(correct, abs=1e-6)


def by_hand(model_folder: Path) -> tuple[float, float]:
    """(loss, share of tokens that are the likeliest) of the base, by transformers alone, a row at a time."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    losses, hits = [], []
    for row in HELD_OUT:
        asked = [{"role": "user", "content": row["question"]}]
        answered = [*asked, {"role": "assistant", "content": row["answer"]}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        text = str(tokenizer.apply_chat_template(answered, tokenize=False)).removesuffix(
            "\n"
        )  # the EOS token is the last
        begin = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0, begin - 1 : -1]
        targets = ids[0, begin:]
        losses += torch.nn.functional.cross_entropy(logits, targets, reduction="none").tolist()
        hits += (logits.argmax(-1) == targets).tolist()
    return sum(losses) / len(losses), sum(hits) / len(hits)


@pytest.mark.parametrize(
    ("method", "micros"),
    [
        ({"kind": "sft"}, (1, 2, 4, 8)),
        ({"kind": "sft", "loss_on": "all"}, (1, 8)),
        ({"kind": "dpo"}, (1, 8)),
        pytest.param({"kind": "dpo", "sft_weight": 0.7}, (1, 4, 8), marks=pytest.mark.slow),
        ({"kind": "cpo", "sft_weight": 0.7}, (1, 4, 8)),
        pytest.param({"kind": "cpo", "sft_weight": 0.0}, (1, 8), marks=pytest.mark.slow),
        pytest.param({"kind": "alphapo"}, (1, 8), marks=pytest.mark.slow),
        pytest.param({"kind": "orpo"}, (1, 4, 8), marks=pytest.mark.slow),
        ({"kind": "reward"}, (1, 8)),
        ({"kind": "kto", "loss": "apo_zero_unpaired"}, (2, 8)),
    ],
    ids=str,
)
def test_it_does_not_depend_on_the_micro_batch(
    train: Callable[..., Run], tmp_path: Path, method: dict[str, Any], micros: tuple[int, ...]
) -> None:
    rows = rows_for(method["kind"], 13) if method["kind"] != "sft" else None
    held_out = write_rows(tmp_path / "held-out.jsonl", rows[:11] if rows else HELD_OUT)
    runs = held_out_losses(train, str(held_out), micros, rows=rows, method=method)
    for run in runs[1:]:
        assert [each.loss for each in run] == pytest.approx([each.loss for each in runs[0]], abs=1e-5)


@pytest.mark.parametrize(("full", "is_precomputed"), [(False, False), (True, False), (False, True)])
def test_ktos_estimate_is_made_over_all_held_out_rows(
    train: Callable[..., Run], tmp_path: Path, full: bool, is_precomputed: bool
) -> None:
    """The first step starts at the reference, where the estimate is 0, so it is the same in every micro-batch."""
    rows = rows_for("kto", 8)
    held_out = write_rows(tmp_path / "held-out.jsonl", rows[:11])
    runs = held_out_losses(
        train,
        str(held_out),
        (2, 8),
        rows,
        {"max_steps": 1, "learning_rate": 3e-2},
        method={"kind": "kto", "precompute_reference": is_precomputed},
        full=full,
    )
    assert runs[0][0].metrics["kl"] > 0.01
    assert [run[0].loss for run in runs] == pytest.approx([runs[0][0].loss] * 2, abs=1e-5)

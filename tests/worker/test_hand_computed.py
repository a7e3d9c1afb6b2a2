"""Losses and log-probabilities against plain arithmetic on bare models, with the reference off and with an adapter.

All rows make one step, so the second step's figures are those of the first step's checkpoint on all rows. The formulas
are those of the papers that TRL names for each loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import AutoTokenizer

from tests.worker.preferences import pairs, rated
from tests.worker.test_precisions import load_bare
from tuner_tui.runs.events import RunFinished, StepLogged
from tuner_tui.worker.device import machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

BETA = 0.3
SMALL_BETA = 0.1
"""For a loss of several differences of sums, each as exact as float32 sums of some 170 nats are."""
ROWS = 6
ONE_BATCH = {"max_steps": 2, "batch_size": ROWS, "micro_batch": ROWS}
FIRST_STEP = {"every_steps": 1, "keep": 10}


@dataclass(frozen=True)
class Side:
    """Log-probabilities of the same answers by the policy and by the reference: sums, and tokens."""

    policy: torch.Tensor
    reference: torch.Tensor
    tokens: torch.Tensor

    @property
    def ratio(self) -> torch.Tensor:
        return self.policy - self.reference


def answer_ids(tokenizer: Any, prompt: Any, answer: Any) -> tuple[list[int], int]:
    """(ids up to the end token, how many are the prompt's)."""
    before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template([*prompt, *answer], tokenize=False).removesuffix("\n")
    return tokenizer(text)["input_ids"], len(tokenizer(before)["input_ids"])


def sums(model: Any, talks: list[tuple[list[int], int]]) -> torch.Tensor:
    """The summed log-probability of each answer, in float64."""
    found = []
    for ids, begin in talks:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        each = torch.log_softmax(logits[:-1], -1)[range(len(ids) - 1), ids[1:]]
        found.append(each[begin - 1 :].sum())
    return torch.stack(found)


def policy_of(run: Run, base: Path) -> Any:
    """What the second step began with."""
    folder = run.folder.checkpoints / "step-000001"
    return PeftModel.from_pretrained(load_bare(base, "fp32"), str(folder)).eval()


def side(run: Run, base: Path, name: str, reference: Any) -> Side:
    tokenizer = AutoTokenizer.from_pretrained(base)
    talks = [answer_ids(tokenizer, row["prompt"], row[name]) for row in pairs(ROWS)]
    tokens = torch.tensor([len(ids) - begin for ids, begin in talks], dtype=torch.float64)
    return Side(sums(policy_of(run, base), talks), sums(reference, talks), tokens)


def second_step(run: Run) -> StepLogged:
    assert run.last(RunFinished).step == 2, run.events[-1]
    return run.all(StepLogged)[1]


def check(step: StepLogged, **expected: torch.Tensor | float) -> None:
    """`loss`, and metrics with `/` written as two underscores, to 1e-5 relative.

    A reward is a small difference of two sums, so it is as exact as those.
    """
    for name, value in expected.items():
        found = step.loss if name == "loss" else step.metrics[name.replace("__", "/")]
        rounding = BETA * 1e-5 if name.startswith("rewards") else 0.0
        assert found == pytest.approx(float(value), rel=1e-5, abs=rounding), name


DPO_LOSSES: dict[str, Callable[[Side, Side], torch.Tensor]] = {
    "sigmoid": lambda c, r: -logsigmoid(BETA * (c.ratio - r.ratio)),
    "hinge": lambda c, r: torch.relu(1 - BETA * (c.ratio - r.ratio)),
    "ipo": lambda c, r: (c.ratio / c.tokens - r.ratio / r.tokens - 1 / (2 * BETA)) ** 2,
    "robust": lambda c, r: (
        (-0.9 * logsigmoid(BETA * (c.ratio - r.ratio)) + 0.1 * logsigmoid(-BETA * (c.ratio - r.ratio))) / 0.8
    ),
    "bco_pair": lambda c, r: -logsigmoid(BETA * c.ratio) - logsigmoid(-BETA * r.ratio),
    "apo_zero": lambda c, r: 1 - torch.sigmoid(BETA * c.ratio) + torch.sigmoid(BETA * r.ratio),
    "sppo_hard": lambda c, r: (c.ratio - 0.5 / BETA) ** 2 + (r.ratio + 0.5 / BETA) ** 2,
}


@pytest.mark.parametrize("loss", DPO_LOSSES)
def test_dpo_with_the_adapter_off_as_reference(
    train: Callable[..., Run], tiny_model: Path, loss: str
) -> None:
    method = {"kind": "dpo", "loss": loss, "beta": BETA, "label_smoothing": 0.1 if loss == "robust" else 0.0}
    run = train(pairs(ROWS), method=method, training=ONE_BATCH, checkpoints=FIRST_STEP)
    base = load_bare(tiny_model, "fp32")
    chosen, rejected = (side(run, tiny_model, name, base) for name in ("chosen", "rejected"))
    check(
        second_step(run),
        loss=DPO_LOSSES[loss](chosen, rejected).mean(),
        logps__chosen=chosen.policy.mean(),
        logps__rejected=rejected.policy.mean(),
        rewards__chosen=BETA * chosen.ratio.mean(),
        rewards__margins=BETA * (chosen.ratio - rejected.ratio).mean(),
    )


def test_dpo_takes_the_adapter_that_it_starts_from_as_reference(
    train: Callable[..., Run], tiny_model: Path
) -> None:
    sft = train(training={"max_steps": 3})
    run = train(
        pairs(ROWS),
        method={"kind": "dpo", "beta": BETA},
        model={"adapter": sft.folder.name},
        training=ONE_BATCH,
        checkpoints=FIRST_STEP,
    )
    assert run.losses[0] == pytest.approx(0.6931472, rel=1e-6)  # the policy is the reference
    reference = PeftModel.from_pretrained(load_bare(tiny_model, "fp32"), str(sft.folder.adapter)).eval()
    chosen, rejected = (side(run, tiny_model, name, reference) for name in ("chosen", "rejected"))
    check(
        second_step(run),
        loss=-logsigmoid(BETA * (chosen.ratio - rejected.ratio)).mean(),
        rewards__chosen=BETA * chosen.ratio.mean(),
        rewards__rejected=BETA * rejected.ratio.mean(),
    )
    with reference.disable_adapter():
        from_base = side(run, tiny_model, "chosen", reference)
    assert abs(float((from_base.ratio - chosen.ratio).mean())) > 0.1


@pytest.mark.parametrize("starts_from_adapter", [False, True])
def test_a_precomputed_reference_is_the_same(train: Callable[..., Run], starts_from_adapter: bool) -> None:
    model = {"adapter": train(training={"max_steps": 3}).folder.name} if starts_from_adapter else {}
    losses = [
        train(
            pairs(ROWS),
            method={"kind": "dpo", "precompute_reference": precomputed},
            model=model,
            training={"max_steps": 4, "batch_size": 3},
        ).losses
        for precomputed in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_full_tuning_compares_with_the_untouched_base(
    train: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu_has_fast_bf16", lambda: False)  # full tuning would mix it in
    run = train(
        pairs(ROWS),
        method={"kind": "dpo", "beta": BETA},
        full=True,
        training=ONE_BATCH,
        checkpoints=FIRST_STEP,
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    policy = load_bare(run.folder.checkpoints / "step-000001", "fp32").eval()
    base = load_bare(tiny_model, "fp32").eval()
    ratios = []
    for name in ("chosen", "rejected"):
        talks = [answer_ids(tokenizer, row["prompt"], row[name]) for row in pairs(ROWS)]
        ratios.append(sums(policy, talks) - sums(base, talks))
    check(second_step(run), loss=-logsigmoid(BETA * (ratios[0] - ratios[1])).mean())


@pytest.mark.parametrize("loss", ["simpo", "sigmoid"])
def test_cpo(train: Callable[..., Run], tiny_model: Path, loss: str) -> None:
    run = train(
        pairs(ROWS),
        method={"kind": "cpo", "loss": loss, "beta": BETA, "margin": 0.4, "sft_weight": 0.0},
        training=ONE_BATCH,
        checkpoints=FIRST_STEP,
    )
    base = load_bare(tiny_model, "fp32")
    chosen, rejected = (side(run, tiny_model, name, base) for name in ("chosen", "rejected"))
    if loss == "simpo":  # mean log-probability a token, ahead by margin / beta
        ahead = chosen.policy / chosen.tokens - rejected.policy / rejected.tokens - 0.4 / BETA
    else:
        ahead = chosen.policy - rejected.policy
    check(second_step(run), loss=-logsigmoid(BETA * ahead).mean())


def test_alphapo(train: Callable[..., Run], tiny_model: Path) -> None:
    alpha, margin = 0.25, 0.4
    run = train(
        pairs(ROWS),
        method={"kind": "alphapo", "alpha": alpha, "beta": BETA, "margin": margin},
        training=ONE_BATCH,
        checkpoints=FIRST_STEP,
    )
    base = load_bare(tiny_model, "fp32")
    chosen, rejected = (side(run, tiny_model, name, base) for name in ("chosen", "rejected"))
    rewards = [(1 - (-alpha * each.policy / each.tokens).exp()) / alpha for each in (chosen, rejected)]
    check(second_step(run), loss=-logsigmoid(BETA * (rewards[0] - rewards[1]) - margin).mean())


def test_orpo(train: Callable[..., Run], tiny_model: Path) -> None:
    run = train(
        pairs(ROWS), method={"kind": "orpo", "beta": BETA}, training=ONE_BATCH, checkpoints=FIRST_STEP
    )
    base = load_bare(tiny_model, "fp32")
    chosen, rejected = (side(run, tiny_model, name, base) for name in ("chosen", "rejected"))
    left, right = chosen.policy / chosen.tokens, rejected.policy / rejected.tokens
    odds = (left - right) - (torch.log1p(-left.exp()) - torch.log1p(-right.exp()))
    tokenizer, policy = AutoTokenizer.from_pretrained(tiny_model), policy_of(run, tiny_model)
    talks = [(answer_ids(tokenizer, row["prompt"], row["chosen"])[0], 1) for row in pairs(ROWS)]
    count = sum(len(ids) - 1 for ids, _ in talks)
    nll = -sums(policy, talks).sum() / count  # over prompt and answer
    check(
        second_step(run),
        loss=nll - BETA * logsigmoid(odds).mean(),
        nll_loss=nll,
        logps__chosen=left.mean(),
        logps__rejected=right.mean(),
        log_odds_chosen=odds.mean(),
    )


@pytest.mark.parametrize("starts_from_adapter", [False, True])
def test_kto(train: Callable[..., Run], tiny_model: Path, starts_from_adapter: bool) -> None:
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.text.preference_tokens import tokenise_answers

    reference: Any = load_bare(tiny_model, "fp32")
    model = {}
    if starts_from_adapter:
        sft = train(training={"max_steps": 3})
        model = {"adapter": str(sft.folder.adapter)}
        reference = PeftModel.from_pretrained(reference, str(sft.folder.adapter)).eval()
    rows = rated(ROWS // 2)[:-1]  # more good ones than bad ones
    run = train(
        rows,
        method={"kind": "kto", "beta": SMALL_BETA, "desirable_weight": 1.5},
        model=model,
        training=ONE_BATCH | {"batch_size": len(rows), "micro_batch": len(rows)},
        checkpoints=FIRST_STEP,
    )
    tokenizer, policy = AutoTokenizer.from_pretrained(tiny_model), policy_of(run, tiny_model)
    drawn = tokenise_answers(Reading(run.folder.path.parents[3] / "rows.jsonl"), tokenizer, 256, "kto", 42)
    ordered = [rows[row.line - 1] for row in drawn.rows]
    talks = [answer_ids(tokenizer, row["prompt"], row["completion"]) for row in ordered]
    mismatched = []
    for index, (ids, begin) in enumerate(talks):
        other, start = talks[index - 1]
        mismatched.append((ids[:begin] + other[start:], begin))
    kl = torch.clamp((sums(policy, mismatched) - sums(reference, mismatched)).mean(), min=0)
    ratio = sums(policy, talks) - sums(reference, talks)
    good = torch.tensor([row["label"] for row in ordered])
    values = torch.where(
        good,
        1.5 * (1 - torch.sigmoid(SMALL_BETA * (ratio - kl))),
        1 - torch.sigmoid(SMALL_BETA * (kl - ratio)),
    )
    step = second_step(run)
    check(
        step,
        loss=values.mean(),
        rewards__chosen=SMALL_BETA * ratio[good].mean(),
        rewards__rejected=SMALL_BETA * ratio[~good].mean(),
    )
    assert step.metrics["kl"] == pytest.approx(float(kl), rel=1e-5, abs=1e-6)


def test_a_reward_model_scores_the_end_of_each_answer(train: Callable[..., Run], tiny_model: Path) -> None:
    run = train(
        pairs(ROWS),
        method={"kind": "reward", "center_rewards": 0.05},
        training=ONE_BATCH,
        checkpoints=FIRST_STEP,
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(
        load_bare(tiny_model, "fp32", has_head=True), str(run.folder.checkpoints / "step-000001")
    ).eval()
    scores = []
    for name in ("chosen", "rejected"):
        talks = [answer_ids(tokenizer, row["prompt"], row[name])[0] for row in pairs(ROWS)]
        with torch.no_grad():
            scores.append(
                torch.stack([model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in talks]).double()
            )
    left, right = scores
    loss = -logsigmoid(left - right).mean() + 0.05 * ((left + right) ** 2).mean()
    check(second_step(run), loss=loss, margin=(left - right).mean(), mean_reward=(left + right).mean() / 2)

"""Scoring tokens with loss alone on a CPU: loss, gradients and accuracy are those of TRL's own path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from tuner_tui.planning.head import most_answer_tokens
from tuner_tui.worker.methods import sft

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "pad_token_id": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 5.0},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
}
ROWS = [([5, 6, 7, 8, 9, 10, 2], 3), ([11, 12, 13, 2], 1), ([5, 9, 20, 21, 22, 2], 4), ([7, 7], 2)]
"""Tokens, and how many of them are without loss; the last row has none with loss."""


def trainer(tmp_path: Path, tiny_model: Path, kind: str, *, trains_head: bool = False) -> Any:
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **SIZES | KINDS[kind])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    rows = Dataset.from_dict(
        {
            "input_ids": [ids for ids, _ in ROWS],
            "labels": [[-100] * without + ids[without:] for ids, without in ROWS],
        }
    )
    made = sft.Trainer(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=len(ROWS),
            dataset_kwargs={"skip_prepare_dataset": True},
            use_cpu=True,
            report_to=[],
            activation_checkpointing=False,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            target_modules=["q_proj", "down_proj"],
            modules_to_save=["lm_head"] if trains_head else None,
        ),
    )
    for name, parameter in made.model.named_parameters():
        if "lora_B" in name:  # zero at first, which hides half of the gradients
            torch.nn.init.normal_(parameter, std=0.1)
    made.model.train()
    return made


def computed(made: Any, how: Any) -> tuple[float, dict[str, torch.Tensor], dict[str, Any]]:
    """Loss, gradients and metrics of one batch; the count of tokens is that of a step with another micro-batch."""
    made._metrics["train"].clear()
    batch = made.data_collator([made.train_dataset[index] for index in range(len(ROWS))])
    loss = how(made, made.model, batch, num_items_in_batch=torch.tensor(20))
    made.model.zero_grad()
    loss.backward()
    loss = loss.detach()
    gradients = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    return float(loss), gradients, dict(made._metrics["train"])


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_path_of_trl(tmp_path: Path, tiny_model: Path, kind: str) -> None:
    made = trainer(tmp_path, tiny_model, kind)
    require_equal(made)


def test_an_output_layer_that_is_trained(tmp_path: Path, tiny_model: Path) -> None:
    require_equal(trainer(tmp_path, tiny_model, "qwen2", trains_head=True))


def require_equal(made: Any) -> None:
    plain = computed(made, SFTTrainer.compute_loss)
    scored: list[torch.Size] = []
    head = made.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, given, __: scored.append(given[0].shape))
    ours = computed(made, type(made).compute_loss)
    handle.remove()
    assert scored == [(sum(len(ids) - max(without, 1) for ids, without in ROWS), SIZES["hidden_size"])]
    assert ours[0] == pytest.approx(plain[0], rel=1e-6)
    assert ours[1].keys() == plain[1].keys()
    for name, gradient in plain[1].items():
        torch.testing.assert_close(ours[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)
        assert gradient.abs().max() > 0
    assert ours[2]["mean_token_accuracy"] == pytest.approx(plain[2]["mean_token_accuracy"])


def test_more_tokens_than_fit_are_scored_in_tiles(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path, tiny_model, "llama")
    assert most_answer_tokens(49_152) == 1820
    monkeypatch.setattr("tuner_tui.worker.training.answer_loss.most_answer_tokens", lambda _: 5)
    monkeypatch.setattr("torch.nn.functional.cross_entropy", None)
    assert computed(made, type(made).compute_loss)[0] > 0


def test_no_token_with_loss(tmp_path: Path, tiny_model: Path) -> None:
    made = trainer(tmp_path, tiny_model, "llama")
    batch = made.data_collator([made.train_dataset[3]])
    loss = made.compute_loss(made.model, batch, num_items_in_batch=torch.tensor(20))
    loss.backward()
    assert float(loss.detach()) == 0

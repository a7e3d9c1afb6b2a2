"""IA3 on each precision: trained, loaded again by bare PEFT, resumed, continued, merged, predicted in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import IA3Config, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from tests.worker.fake_memory import FakeRun
from tests.worker.preferences import pairs
from tests.worker.runs import stop_and_resume
from tests.worker.test_memory_truth import BOUND, error_of
from tests.worker.test_precisions import EVERY_STEP, check_lora, tensors_of, trained_logits
from tests.worker.test_resume import adapter_bytes, curve
from tuner_tui.planning.plan import decode_plan
from tuner_tui.runs.events import ModelLoaded, RunFinished
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.merge import MergedWeights
from tuner_tui.worker.export.updates import read_updates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run
    from tuner_tui.runs.folder import RunFolder

__all__ = ["trained_logits"]
IA3 = {"kind": "ia3"}
FAST = {"max_steps": 8, "learning_rate": 0.5}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_ia3_trains_and_reloads(
    train: Callable[..., Run], tiny_model: Path, trained_logits: list[torch.Tensor], precision: str
) -> None:
    run = train(model={"precision": precision}, tuning=IA3, training=FAST, checkpoints=EVERY_STEP)
    assert run.last(ModelLoaded).precision == precision
    check_lora(run, tiny_model, precision, trained_logits[0])
    names = {name.split(".")[-2] for name in tensors_of(run.folder.adapter / "adapter_model.safetensors")}
    assert names == {"k_proj", "v_proj", "down_proj"}


def test_the_plan_counts_the_factors_and_takes_the_published_learning_rate(train: Callable[..., Run]) -> None:
    run = train(tuning=IA3, training={"max_steps": 1, "learning_rate": None})
    assert decode_plan(run.folder.plan.read_bytes()).learning_rate == 3e-3
    trained = run.last(ModelLoaded).trainable_parameters
    factors = tensors_of(run.folder.adapter / "adapter_model.safetensors").values()
    assert trained == sum(factor.numel() for factor in factors) > 0


def test_ia3_resumes_exactly(train: Callable[..., Run], make_run: Callable[..., RunFolder]) -> None:
    tables: dict[str, Any] = {"tuning": IA3, "training": FAST, "model": {"precision": "nf4"}}
    whole = train(**tables)
    resumed = stop_and_resume(make_run(**tables), 3)
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)


def test_ia3_is_continued(train: Callable[..., Run]) -> None:
    first = train(tuning=IA3, training=FAST)
    begun = tensors_of(first.folder.adapter / "adapter_model.safetensors")
    again = train(
        pairs(), tuning=IA3, method={"kind": "orpo"}, model={"adapter": first.folder.name},
        training={"max_steps": 1, "learning_rate": 1e-9},
    )  # fmt: skip
    assert again.last(RunFinished).step == 1
    saved = tensors_of(again.folder.adapter / "adapter_model.safetensors")
    assert saved.keys() == begun.keys()
    assert all(torch.allclose(saved[name], begun[name], atol=1e-6) for name in begun)


@pytest.mark.parametrize("has_bias", [False, True])
def test_the_merged_model_is_pefts_own_merge(tmp_path: Path, has_bias: bool) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 96, "vocab_size": 128,
    }  # fmt: skip
    config = (Qwen2Config if has_bias else LlamaConfig)(**sizes)
    base = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    base.save_pretrained(tmp_path / "base")
    targets = ["k_proj", "v_proj", "down_proj"]
    tuned = get_peft_model(
        base, IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=["down_proj"])
    )
    for name, parameter in tuned.named_parameters():
        if "ia3" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.2)
    tuned.save_pretrained(tmp_path / "adapter")
    merged = MergedWeights(BaseWeights(tmp_path / "base"), read_updates(tmp_path / "adapter"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    assert any("bias" in name for name in merged.base.entries) is has_bias
    for name in merged.base.entries:
        torch.testing.assert_close(merged.read_exact(name).float(), theirs[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_memory_of_ia3_is_predicted(checkpointing: bool) -> None:
    run = FakeRun(
        LlamaConfig(
            hidden_size=1024, num_hidden_layers=4, num_attention_heads=16, num_key_value_heads=4,
            intermediate_size=4096, vocab_size=8192, tie_word_embeddings=True,
        ),
        rows=2, length=1024, checkpointing=checkpointing, tuning="ia3", targets="auto",
    )  # fmt: skip
    assert abs(error_of(run)) < BOUND

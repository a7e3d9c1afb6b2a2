"""The memory estimate against the real transformers model and TRL's real loss, on tensors without data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen3Config, Qwen3MoeConfig

from tests.worker.fake_memory import FakeRun, measure
from tuner_tui.models.facts import facts_from
from tuner_tui.planning.estimate import estimate_memory
from tuner_tui.planning.peaks import MISC_BYTES
from tuner_tui.planning.shape import ModelShape, shape_of
from tuner_tui.planning.workload import Workload

BOUND, MOE_BOUND = 0.03, 0.10
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Llama-3.2-1B": (LlamaConfig, {
        "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "intermediate_size": 8192, "vocab_size": 128_256, "tie_word_embeddings": True,
    }),
    "Qwen3-4B": (Qwen3Config, {
        "hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 9728, "vocab_size": 151_936, "tie_word_embeddings": True,
    }),
    "Gemma-3-4B": (Gemma3TextConfig, {
        "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "intermediate_size": 10_240, "vocab_size": 262_208,
    }),
    "Mistral-7B": (MistralConfig, {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 14_336, "vocab_size": 32_000, "sliding_window": None,
    }),
    "Qwen3-MoE": (Qwen3MoeConfig, {
        "hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 32, "num_key_value_heads": 4,
        "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
        "num_experts_per_tok": 8, "vocab_size": 151_936, "tie_word_embeddings": False,
    }),
}  # fmt: skip
DENSE = [name for name in MODELS if "MoE" not in name]
FULL_MIXED: dict[str, Any] = {"tuning": "full", "dtype": torch.float32}
FULL_16: dict[str, Any] = {"tuning": "full", "autocast": False}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def make(name: str, **options: Any) -> FakeRun:
    build, sizes = MODELS[name]
    return FakeRun(build(**sizes), length=2048, **{"rows": 1} | options)


def shape_like(run: FakeRun) -> ModelShape:
    config = run.config.to_dict()
    config["head_dim"] = getattr(run.config, "head_dim", None)
    shape = shape_of(facts_from(config, {}))
    assert shape is not None
    return shape


def load_like(run: FakeRun) -> Workload:
    return Workload(
        rows=run.rows, length=run.length, method=run.method, tuning=run.tuning, rank=run.rank,
        loaded_as="fp32" if run.dtype == torch.float32 else "bf16", autocast=run.autocast, targets=run.targets,
        checkpointing="on" if run.checkpointing else "off", accumulates=False, dropout=run.dropout, dora=run.dora,
        adapter_bytes=4 if run.adapter_dtype == torch.float32 else 2,
        optimizer="adamw" if run.fused_optimizer else "adamw_foreach",
    )  # fmt: skip


def error_of(run: FakeRun) -> float:
    """Relative error of the estimate, without what only a GPU's libraries hold."""
    truth = measure(run).peak
    predicted = estimate_memory(shape_like(run), load_like(run)).allocated - MISC_BYTES
    print(
        f"{predicted / 2**30:.3f} GiB predicted, {truth / 2**30:.3f} true: {100 * (predicted / truth - 1):+.2f} %"
    )
    return predicted / truth - 1


def test_a_small_model_is_predicted() -> None:
    run = FakeRun(
        LlamaConfig(
            hidden_size=1024, num_hidden_layers=4, num_attention_heads=16, num_key_value_heads=4,
            intermediate_size=4096, vocab_size=8192, tie_word_embeddings=True,
        ),
        rows=2, length=1024, checkpointing=False,
    )  # fmt: skip
    assert abs(error_of(run)) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("method", ["sft", "dpo", "reward"])
@pytest.mark.parametrize("name", DENSE)
def test_adapters_on_16_bit_weights(name: str, method: str, checkpointing: bool) -> None:
    rows = 2 if method == "sft" else 1
    assert abs(error_of(make(name, method=method, checkpointing=checkpointing, rows=rows))) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("types", [FULL_MIXED, FULL_16], ids=["fp32 mixed", "bf16"])
@pytest.mark.parametrize("method", ["sft", "dpo", "reward"])
@pytest.mark.parametrize("name", DENSE)
def test_all_weights(name: str, method: str, types: dict[str, Any], checkpointing: bool) -> None:
    assert abs(error_of(make(name, method=method, checkpointing=checkpointing, **types))) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"targets": ATTENTION},
        {"dtype": torch.float32, "autocast": False},
        {"rank": 128},
        {"rows": 8, "targets": ATTENTION},
        {"method": "orpo"},
    ],
    ids=["attention", "fp32", "rank 128", "16k tokens", "orpo"],
)
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("name", ["Llama-3.2-1B", "Qwen3-4B"])
def test_other_settings(name: str, options: dict[str, Any], checkpointing: bool) -> None:
    assert abs(error_of(make(name, checkpointing=checkpointing, **options))) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"targets": ATTENTION}, FULL_16], ids=["all-linear", "attention", "full"]
)
def test_a_mixture_of_experts(options: dict[str, Any], checkpointing: bool) -> None:
    assert abs(error_of(make("Qwen3-MoE", checkpointing=checkpointing, rows=2, **options))) < MOE_BOUND


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "checkpointing"), [(1, True), (4, True), (1, False)])
def test_weight_decomposed_adapters(rows: int, checkpointing: bool) -> None:
    assert abs(error_of(make("Llama-3.2-1B", dora=True, rows=rows, checkpointing=checkpointing))) < BOUND

"""Packed rows: trained like rows alone where the model keeps them apart, refused before the first step elsewhere."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconH1Config,
    Gemma3TextConfig,
    Lfm2Config,
    Mamba2Config,
    OPTConfig,
    Qwen2MoeConfig,
    Qwen3_5TextConfig,
)

from tuner_tui.runs.events import Evaluated, RunFailed, RunFinished, StepLogged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

from_config: Any = AutoModelForCausalLM.from_config  # it has no types
PACKED = {"kind": "sft", "packing": True}
SIZES: dict[str, Any] = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 2,
}  # fmt: skip
PLAIN = {
    name: SIZES[name]
    for name in ("vocab_size", "hidden_size", "pad_token_id", "bos_token_id", "eos_token_id")
}
APART = {
    "gemma3": Gemma3TextConfig(
        **SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
    ),
    "qwen2_moe": Qwen2MoeConfig(
        **SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=32
    ),
}  # fmt: skip
TOGETHER = {
    "bloom": BloomConfig(**PLAIN, n_layer=2, n_head=4),
    "opt": OPTConfig(
        **PLAIN, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32,
        max_position_embeddings=512,
    ),
    "mamba2": Mamba2Config(
        **PLAIN, num_hidden_layers=2, head_dim=16, num_heads=4, state_size=16, n_groups=1, chunk_size=16
    ),
    "qwen3_5_text": Qwen3_5TextConfig(
        **SIZES, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
    ),
    "lfm2": Lfm2Config(**SIZES, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
    "falcon_h1": FalconH1Config(
        **SIZES, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=16, mamba_n_groups=1,
        mamba_chunk_size=16,
    ),
}  # fmt: skip
TARGETS: dict[str, dict[str, Any]] = {
    "mamba2": {"targets": ["in_proj"]}, "falcon_h1": {"targets": ["q_proj", "v_proj"]}
}  # fmt: skip
"""What PEFT adapts in them."""
"""Architectures whose layers, without extra kernels, carry something over from one packed row to the next."""


@pytest.fixture
def model_of(tiny_model: Path, tmp_path: Path) -> Callable[[str, Any], Path]:
    """Save a random model of a configuration beside the tiny model's tokenizer."""

    def save(name: str, config: Any) -> Path:
        folder = tmp_path / name
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            from_config(config).save_pretrained(folder)
        for path in tiny_model.iterdir():
            if "token" in path.name or path.name.endswith(".jinja"):
                shutil.copyfile(path, folder / path.name)
        return folder

    return save


def rows(count: int = 8) -> list[dict[str, str]]:
    return [
        {"question": f"What is {n}?", "answer": "It is " + "one more and " * (n % 4)} for n in range(count)
    ]


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
def test_the_loss_of_packed_rows_is_that_of_rows_alone(train: Callable[..., Run], attention: str) -> None:
    once = {"max_steps": 1, "batch_size": 8, "micro_batch": 4, "max_length": 512, "learning_rate": 1e-9}
    alone = train(rows(), training=once, model={"attention": attention})
    packed = train(
        rows(), method=PACKED, training={**once, "batch_size": 2, "micro_batch": 2}, model={"attention": attention}
    )  # fmt: skip
    assert packed.last(RunFinished).step == 1
    steps = [run.last(StepLogged) for run in (alone, packed)]
    assert steps[1].loss == pytest.approx(steps[0].loss, rel=1e-5)
    assert steps[1].grad_norm == pytest.approx(steps[0].grad_norm, rel=1e-3)


def test_held_out_rows_are_packed_too_and_give_the_same_loss(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows(6)))
    losses = []
    for method in ({"kind": "sft"}, PACKED):
        run = train(
            rows(), method=method, data={"evaluation": str(held_out)}, evaluation={"every_steps": 1},
            training={"max_steps": 1, "batch_size": 1, "micro_batch": 1, "learning_rate": 1e-12},
        )  # fmt: skip
        losses.append(run.last(Evaluated).loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_models_that_keep_rows_apart_are_trained(
    train: Callable[..., Run], model_of: Callable[[str, Any], Path], name: str, precision: str
) -> None:
    folder = model_of(name, APART[name])
    run = train(
        rows(),
        method=PACKED,
        model={"source": str(folder), "precision": precision},
        training={"max_steps": 1},
    )
    assert run.last(RunFinished).step == 1, run.events[-1]


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp32") for name in TOGETHER), ("bloom", "bf16"), ("mamba2", "bf16")]
)
def test_models_that_mix_packed_rows_are_refused(
    train: Callable[..., Run], model_of: Callable[[str, Any], Path], name: str, precision: str
) -> None:
    folder = model_of(name, TOGETHER[name])
    model = {"source": str(folder), "precision": precision}
    targets = TARGETS.get(name, {})
    run = train(rows(), method=PACKED, model=model, tuning=targets, training={"max_steps": 1})
    failure = run.last(RunFailed)
    assert failure.title == "Packed rows are not kept apart", failure
    assert name in failure.message and "attention" in failure.message
    assert "packing = false" in failure.hint
    assert not run.all(StepLogged)
    unpacked = train(rows(), model=model, tuning=targets, training={"max_steps": 1})
    assert unpacked.last(RunFinished).step == 1  # it was packing alone that was wrong


def test_the_look_changes_nothing(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner_tui.worker.training import common

    tables: dict[str, Any] = {
        "method": PACKED, "tuning": {"dropout": 0.2}, "training": {"max_steps": 4, "batch_size": 1, "max_length": 64}
    }  # fmt: skip
    looked = train(rows(), **tables)
    monkeypatch.setattr(common, "require_rows_apart", lambda trainer: None)
    not_looked = train(rows(), **tables)
    assert looked.losses == not_looked.losses
    adapters = [load_file(run.folder.adapter / "adapter_model.safetensors") for run in (looked, not_looked)]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])

"""Mixtures of experts: their adapters are merged as PEFT merges them, and what PEFT refuses is refused first."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from peft.utils import transformers_weight_conversion as peft_conversion
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    GptOssConfig,
    MixtralConfig,
    OlmoeConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

from tests.worker.merging import add_adapter, merges_as_peft
from tuner_tui.cli.train import train as train_command
from tuner_tui.models.architectures import table
from tuner_tui.runs.events import RunFinished
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.merge import MergedWeights
from tuner_tui.worker.export.updates import read_updates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

from_config: Any = AutoModelForCausalLM.from_config  # it has no types
SIZES: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS: dict[str, Any] = {"head_dim": 8}
CONFIGS: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: MixtralConfig(**SIZES, num_local_experts=4),
    "qwen3_moe": lambda: Qwen3MoeConfig(**SIZES, **HEADS, num_experts=4, moe_intermediate_size=24),
    "qwen2_moe": lambda: Qwen2MoeConfig(
        **SIZES, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=24
    ),
    "olmoe": lambda: OlmoeConfig(**SIZES, num_experts=4),
    "gpt_oss": lambda: GptOssConfig(**SIZES, num_local_experts=4, head_dim=8),
    "deepseek_v3": lambda: DeepseekV3Config(
        **(SIZES | {"num_key_value_heads": 4}),
        n_routed_experts=4,
        moe_intermediate_size=24,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        v_head_dim=8,
        qk_nope_head_dim=8,
    ),
}


def make_model(folder: Path, kind: str, tokenizer: Path | None = None) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        from_config(CONFIGS[kind]()).save_pretrained(folder)
    if tokenizer is not None:
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(tokenizer / name, folder)
    return folder


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_merge_is_pefts(tmp_path: Path, kind: str, rslora: bool) -> None:
    base = make_model(tmp_path / "base", kind)
    merges_as_peft(base, add_adapter(base, tmp_path / "adapter", use_rslora=rslora), tmp_path / "merged")


def test_the_types_are_those_that_peft_knows() -> None:
    known = {
        kind: pattern
        for kind, pattern in peft_conversion._MODEL_TO_CONVERSION_PATTERN.items()
        if pattern in peft_conversion._MOE_FUSED_TARGETS and kind.islower()
    }
    assert known == table().expert_types
    for pattern, parts in table().expert_parts.items():
        assert set(parts) == set(peft_conversion._MOE_TARGET_MODULE_MAPPING[pattern])
        assert table().fused_parts[pattern] == peft_conversion._MOE_FUSED_TARGETS[pattern]


@pytest.mark.parametrize(
    ("kind", "tuning", "words"),
    [
        ("qwen3_moe", {"dropout": 0.1}, "dropout = 0"),
        ("qwen3_moe", {"dora": True}, "dora = false"),
        ("mixtral", {"dropout": 0.1, "targets": ["q_proj", "w2"]}, "dropout = 0"),
        ("qwen3_moe", {"targets": ["gate_proj", "q_proj"]}, "Name up_proj"),
        ("mixtral", {"targets": ["w3"]}, "Name w1"),
        ("qwen3_moe", {"dropout": 0.1, "targets": "attention"}, ""),
        ("qwen3_moe", {"dropout": 0.1, "dora": True, "targets": ["q_proj", "v_proj"]}, ""),
        ("qwen3_moe", {}, ""),
        ("gpt_oss", {"dropout": 0.1}, ""),
        ("qwen2_moe", {"dora": True}, ""),
    ],
    ids=str,
)
def test_the_check_refuses_what_peft_would_refuse(
    tmp_path: Path, tiny_model: Path, kind: str, tuning: dict[str, Any], words: str
) -> None:
    base = make_model(tmp_path / "base", kind, tiny_model)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in tuning.items())
    (tmp_path / "run.toml").write_text(
        f'[model]\nsource = "{base}"\n[data]\ntrain = "{rows}"\n[tuning]\nkind = "lora"\n{options}'
    )
    outcome = CliRunner().invoke(train_command, [str(tmp_path / "run.toml"), "--check"])
    message = f"{outcome.output} {outcome.exception and vars(outcome.exception)}"
    targets = tuning.get("targets", "all-linear")
    if targets == "attention":
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    config = LoraConfig(
        target_modules=targets, lora_dropout=tuning.get("dropout", 0.0), use_dora=tuning.get("dora", False)
    )
    model = AutoModelForCausalLM.from_pretrained(base)
    if words:
        assert words in message
        assert "mixture of experts" in message
        with pytest.raises(ValueError, match=r"does not work with|Cannot convert"):
            get_peft_model(model, config)
    else:
        assert outcome.exit_code == 0, message
        get_peft_model(model, config)


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral"])
def test_a_run_trains_experts_and_router(
    train: Callable[..., Run], tmp_path: Path, tiny_model: Path, kind: str
) -> None:
    from safetensors.torch import load_file

    base = make_model(tmp_path / "base", kind, tiny_model)
    run = train(model={"source": str(base), "precision": "fp32"}, training={"max_steps": 2})
    assert run.last(RunFinished).step == 2
    tensors = load_file(run.folder.adapter / "adapter_model.safetensors")
    ups = {name: tensor for name, tensor in tensors.items() if "lora_B" in name and ".mlp." in name}
    assert len(ups) == 6  # router, gate with up, and down, in two layers
    assert all(tensor.abs().max() > 0 for tensor in ups.values())
    merged = MergedWeights(BaseWeights(base), read_updates(run.folder.adapter))
    changed = sum(not torch.equal(merged.read(name), merged.base.read(name)) for name in merged.base.entries)
    assert changed == sum(
        name.endswith(".weight") and ".layers." in name and "norm" not in name for name in merged.base.entries
    )

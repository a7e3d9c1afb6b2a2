"""Repositories in MXFP4 and FP8 are loaded unpacked, and gradients reach every adapter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.trainer_utils import validate_quantization_for_training

from tuner_tui.config.spec import ModelSpec
from tuner_tui.runs.events import ChoicesMade
from tuner_tui.worker.device.machine import Machine
from tuner_tui.worker.model.loading import load_base

if TYPE_CHECKING:
    from pathlib import Path


def write_mxfp4(folder: Path) -> dict[str, Any]:
    config = GptOssConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, num_local_experts=4, num_experts_per_tok=2, vocab_size=128, layer_types=["full_attention"],
        pad_token_id=0,
    )  # fmt: skip
    GptOssForCausalLM(config).bfloat16().save_pretrained(folder)
    packed = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            packed[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        packed[f"{name}_blocks"] = torch.randint(
            0, 255, (experts, outputs, inputs // 32, 16), dtype=torch.uint8
        )
        packed[f"{name}_scales"] = torch.full((experts, outputs, inputs // 32), 120, dtype=torch.uint8)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    return {"quant_method": "mxfp4", "modules_to_not_convert": kept}


def write_fp8(folder: Path) -> dict[str, Any]:
    config = Qwen3Config(
        hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=64, vocab_size=128,
    )  # fmt: skip
    Qwen3ForCausalLM(config).bfloat16().save_pretrained(folder)
    packed = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        packed[name] = tensor
        if name.endswith("_proj.weight"):
            packed[name] = tensor.to(torch.float8_e4m3fn)
            packed[f"{name}_scale_inv"] = torch.ones([-(-side // 128) for side in tensor.shape])
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    return {
        "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3",
    }  # fmt: skip


@pytest.mark.parametrize("write", [write_mxfp4, write_fp8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unpacked_weights_are_trainable(tmp_path: Path, write: Any, dtype: torch.dtype) -> None:
    settings = write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    machine = Machine(
        "cpu", "fp32" if dtype == torch.float32 else "bf16", dtype, None, ChoicesMade(choices=())
    )
    base = load_base(str(tmp_path), None, ModelSpec(source=str(tmp_path)), machine)
    assert {each.dtype for each in base.parameters()} == {dtype}
    assert getattr(base.config, "quantization_config", None) is None
    tuned: Any = get_peft_model(base, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    validate_quantization_for_training(tuned)  # type: ignore[no-untyped-call]
    tokens = torch.randint(1, 100, (1, 8))
    tuned(input_ids=tokens, labels=tokens).loss.backward()
    trained = [each for each in tuned.parameters() if each.requires_grad]
    assert trained and all(each.grad is not None for each in trained)

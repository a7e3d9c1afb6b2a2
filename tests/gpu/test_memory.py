"""The memory estimate against real steps on a CUDA card, at random weights of real shapes: errors are printed (-s)."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
import transformers
from transformers import LlamaConfig, Qwen3Config

from tuner_tui.models.facts import facts_from
from tuner_tui.planning.estimate import estimate_memory
from tuner_tui.planning.shape import ModelShape, shape_of
from tuner_tui.planning.workload import Checkpointing, LoadedAs, OptimizerKind, Workload

AutoModelForCausalLM: Any = transformers.AutoModelForCausalLM
BitsAndBytesConfig: Any = transformers.BitsAndBytesConfig
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
BOUND = 0.04
SIZES: dict[str, tuple[Any, dict[str, Any]]] = {
    "Llama-3.2-1B": (LlamaConfig, {
        "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "intermediate_size": 8192, "vocab_size": 128_256, "tie_word_embeddings": True,
    }),
    "Qwen3-0.6B": (Qwen3Config, {
        "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151_936, "tie_word_embeddings": True,
    }),
    "SmolLM2-135M": (LlamaConfig, {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "head_dim": 64, "intermediate_size": 1536, "vocab_size": 49_152, "tie_word_embeddings": True,
    }),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One configuration; each fits a card of 12 GB."""

    model: str
    tuning: Literal["full", "lora"]
    loaded_as: LoadedAs
    rows: int
    length: int
    checkpointing: Checkpointing
    method: Literal["sft", "dpo"] = "sft"
    rank: int = 16
    optimizer: OptimizerKind = "adamw"

    def __str__(self) -> str:
        words = (
            self.model,
            self.method,
            self.tuning,
            self.loaded_as,
            f"{self.rows}x{self.length}",
            self.optimizer,
        )
        return " ".join((*words, f"checkpointing {self.checkpointing}", f"rank {self.rank}"))


CASES = (
    Case("Llama-3.2-1B", "lora", "bf16", 2, 1024, "on"),
    Case("Llama-3.2-1B", "lora", "bf16", 1, 1024, "off"),
    Case("Llama-3.2-1B", "lora", "nf4", 4, 1024, "on"),
    Case("Llama-3.2-1B", "lora", "nf4", 1, 2048, "off"),
    Case("Llama-3.2-1B", "lora", "int8", 2, 1024, "on"),
    Case("Llama-3.2-1B", "lora", "bf16", 1, 1024, "on", method="dpo"),
    Case("Llama-3.2-1B", "lora", "bf16", 8, 1024, "on", rank=128),
    Case("Qwen3-0.6B", "full", "bf16", 2, 1024, "on"),
    Case("Qwen3-0.6B", "full", "fp32", 1, 1024, "off"),
    Case("Qwen3-0.6B", "lora", "bf16", 4, 1024, "off"),
    Case("Qwen3-0.6B", "lora", "nf4", 8, 512, "on"),
    Case("Qwen3-0.6B", "full", "bf16", 4, 512, "on", optimizer="adamw_8bit"),
    Case("SmolLM2-135M", "full", "fp32", 4, 1024, "off"),
    Case("SmolLM2-135M", "lora", "fp32", 4, 512, "off"),
)


def shape_like(config: Any) -> ModelShape:
    shape = shape_of(facts_from(config.to_dict() | {"head_dim": config.head_dim}, {}))
    assert shape is not None
    return shape


def load_like(case: Case) -> Workload:
    """As `workload_of` reads a spec, with nothing padded and nothing accumulated."""
    is_full = case.tuning == "full"
    return Workload(
        rows=case.rows, length=case.length, method=case.method, tuning=case.tuning, loaded_as=case.loaded_as,
        autocast=case.loaded_as == "fp32" if is_full else case.loaded_as != "fp32", rank=case.rank, adapter_bytes=4,
        checkpointing=case.checkpointing, optimizer=case.optimizer, accumulates=False,
    )  # fmt: skip


def build(case: Case, folder: Any) -> Any:
    """The model on the card as the worker holds it: quantised by bitsandbytes from files, adapters in fp32."""
    from peft import LoraConfig, get_peft_model
    from trl.trainer.utils import add_fused_lm_head

    kind, sizes = SIZES[case.model]
    dtype = torch.float32 if case.loaded_as == "fp32" else torch.bfloat16
    torch.manual_seed(0)
    if case.loaded_as in ("nf4", "int8"):
        made = AutoModelForCausalLM.from_config(kind(**sizes), dtype=dtype)
        made.save_pretrained(folder)
        del made
        packing = (
            BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
            if case.loaded_as == "nf4"
            else BitsAndBytesConfig(load_in_8bit=True)
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, quantization_config=packing, device_map={"": 0}, attn_implementation="sdpa"
        )
    else:
        with torch.device("cuda"):
            model = AutoModelForCausalLM.from_config(kind(**sizes), dtype=dtype, attn_implementation="sdpa")
    outputs = ("log_probs", "entropy", "is_top1" if case.method == "sft" else "mean_logits")
    add_fused_lm_head(model, outputs=outputs)
    model.config.use_cache = False
    model.train()
    if case.checkpointing == "on":
        model.activation_checkpointing_enable()
    if case.tuning == "lora":
        model.requires_grad_(False)
        if case.checkpointing == "on":
            model.enable_input_require_grads()
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=case.rank, target_modules="all-linear")
        )
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return model


def loss_of(case: Case, model: Any, ids: torch.Tensor) -> torch.Tensor:
    outputs = model(input_ids=ids, labels=ids, fused_lm_head=True)
    if case.method == "sft":
        summed: torch.Tensor = (-outputs.log_probs).sum() / ids.numel()
        return summed
    log_probs = outputs.log_probs.sum(1)
    with torch.no_grad(), model.disable_adapter():
        base = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum(1)
    chosen, rejected = (log_probs - base).chunk(2)
    loss: torch.Tensor = -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean()
    return loss


def peak_of(case: Case, folder: Any) -> tuple[int, int]:
    """(allocated, reserved) bytes at the highest moment of the third step."""
    model = build(case, folder)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer: torch.optim.Optimizer
    if case.optimizer == "adamw_8bit":
        import bitsandbytes

        optimizer = bitsandbytes.optim.AdamW8bit(trained, lr=1e-5)
    else:
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    autocast = load_like(case).autocast
    sequences = case.rows * (2 if case.method == "dpo" else 1)
    ids = torch.randint(0, 1000, (sequences, case.length), device="cuda")
    for step in range(3):
        if step == 2:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            loss = loss_of(case, model, ids)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        del loss
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


@pytest.fixture(autouse=True)
def empty_card() -> Any:
    gc.collect()
    torch.cuda.empty_cache()
    yield
    gc.collect()
    torch.cuda.empty_cache()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_step_allocates(case: Case, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if case.loaded_as == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bf16")
    kind, sizes = SIZES[case.model]
    estimate = estimate_memory(shape_like(kind(**sizes)), load_like(case))
    allocated, reserved = peak_of(case, tmp_path)
    error = estimate.allocated / allocated - 1
    with capsys.disabled():
        print(
            f"\n{case}: {allocated / 2**30:.3f} GiB allocated, {estimate.allocated / 2**30:.3f} estimated "
            f"({100 * error:+.2f} %), {reserved / 2**30:.3f} reserved"
        )
    assert abs(error) <= BOUND
    assert reserved <= estimate.high

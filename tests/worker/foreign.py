"""Adapters as other people's scripts make them: with PEFT alone, and trained by adding noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

if TYPE_CHECKING:
    from pathlib import Path


def load(base: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The base, by transformers alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    return model.eval()


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | options
    )


def make_adapter(base: Path, folder: Path, config: Any, *, noise: float = 0.1, initial: str = "") -> Path:
    """An adapter of a base, saved as PEFT saves it; `initial` names a folder within for it before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model: Any = get_peft_model(load(base), config)
        if initial:  # as PEFT's documentation has it
            before, config.init_lora_weights = config.init_lora_weights, True
            model.save_pretrained(str(folder / initial))
            config.init_lora_weights = before
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(noise * torch.randn_like(parameter))
        model.save_pretrained(str(folder))
        torch.save(logits_of(model), folder / "logits.of-training")
    return folder


def trained_logits(folder: Path) -> torch.Tensor:
    """The logits of the model whose adapter was saved, while it was in memory."""
    logits: torch.Tensor = torch.load(folder / "logits.of-training", weights_only=True)
    return logits


def logits_of(model: Any) -> torch.Tensor:
    """A row's logits, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(30, 50)[None]).logits
    return logits.float()


def by_peft(base: Path, adapter: Path) -> torch.Tensor:
    """The logits of base and adapter, loaded by PEFT alone."""
    return logits_of(PeftModel.from_pretrained(load(base), str(adapter)))

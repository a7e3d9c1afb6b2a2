"""What is trained: an adapter beside the frozen base, or every weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from peft import PeftConfig

    from tuner_tui.config.spec import LoraTuning, RunSpec

ATTENTION_NAMES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "qkv_proj",
    "query_key_value",
    "c_attn",
    "Wqkv",
    "out_proj",
)


def peft_config(spec: RunSpec, model: Any) -> PeftConfig | None:
    """PEFT's configuration of the spec's tuning; None for full tuning. Raises InputError for unknown targets."""
    tuning = spec.tuning
    if tuning.kind == "full":
        return None
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=tuning.rank,
        lora_alpha=int(tuning.alpha) if tuning.alpha.is_integer() else tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=_targets(tuning, model),
        use_rslora=tuning.rslora,
        use_dora=tuning.dora,
        bias="none",
    )


def _targets(tuning: LoraTuning, model: Any) -> str | list[str]:
    if tuning.targets == "all-linear":
        return "all-linear"
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if tuning.targets == "attention":
        found = [name for name in ATTENTION_NAMES if name in present]
        if not found:
            raise InputError(
                "The attention layers are not known by name",
                f"{model.config.model_type} has none of {', '.join(ATTENTION_NAMES)}.",
                'Set tuning.targets to "all-linear" or to a list of module names.',
            )
        return found
    missing = [name for name in tuning.targets if name.rpartition(".")[2] not in present]
    if missing:
        linear = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        )
        raise InputError(
            "A target is not in the model",
            f"tuning.targets: {', '.join(missing)}.",
            f"The model's linear layers are: {', '.join(linear)}.",
        )
    return list(tuning.targets)


def keep_adapter_in_fp32(model: Any) -> None:
    """Hold an adapter's weights in fp32; those of a full tuning stay in the precision that was asked.

    TRL casts adapters on quantised bases to bf16 when it builds its trainer; some kinds then trained nothing, silently,
    and a reload differed.
    """
    if not hasattr(model, "peft_config"):
        return
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def count_parameters(model: Any) -> tuple[int, int]:
    """(all, trained) parameters; packed 4-bit weights are counted as the numbers they stand for."""
    total = trained = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if parameter.__class__.__name__ == "Params4bit":
            shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
            count = shape.numel() if shape is not None else count * 2
        total += count
        trained += count if parameter.requires_grad else 0
    return total, trained

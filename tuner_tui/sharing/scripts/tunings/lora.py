"""LoRA in a train.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.models.adapter import CONFIG_FILE
from tuner_tui.models.model_folder import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import LoraTuning
    from tuner_tui.sharing.run_facts import RunFacts

CONFIG = "LoraConfig"
"""What PEFT calls its configuration."""


def adapter(tuning: LoraTuning, facts: RunFacts) -> str:
    """The code that creates `adapter`."""
    targets: str | list[str] = tuning.targets if isinstance(tuning.targets, str) else list(tuning.targets)
    if targets == "attention" or facts.story.setup.is_partly_adapted:
        targets = _trained_layers(facts.folder.adapter / CONFIG_FILE)
    return _ADAPTER.format(
        rank=tuning.rank,
        alpha=int(tuning.alpha) if tuning.alpha.is_integer() else tuning.alpha,
        dropout=tuning.dropout,
        targets=ascii(targets),
        rslora=tuning.rslora,
        dora=tuning.dora,
        task="SEQ_CLS" if facts.gives_scores else "CAUSAL_LM",
        saved='["score"]' if facts.gives_scores else None,
    )


def _trained_layers(config: Path) -> str | list[str]:
    targets = read_json(config).get("target_modules")
    if isinstance(targets, str):
        return targets
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        raise InputError(
            "The adapter's configuration cannot be used", f"{config}: target_modules names no layers."
        )
    return sorted(targets)


def wake_dropout(tuning: LoraTuning) -> str:
    """The lines that give the adapter its dropout back, where a trainer turns it off."""
    return _WAKE.format(dropout=tuning.dropout) if tuning.dropout else ""


_ADAPTER = """adapter = LoraConfig(
    task_type="{task}",
    modules_to_save={saved},
    r={rank},
    lora_alpha={alpha},
    lora_dropout={dropout},
    target_modules={targets},
    use_rslora={rslora},
    use_dora={dora},
    bias="none",
)
"""
_WAKE = """for module in trainer.model.modules():  # preference trainers turn dropout off
    if isinstance(getattr(module, "lora_dropout", None), torch.nn.ModuleDict) and "default" in module.lora_dropout:
        module.lora_dropout["default"].p = {dropout}
"""

"""A PEFT adapter's own description, read from its folder without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tuner_tui.config.tunings.traits import TRAITS
from tuner_tui.errors import InputError
from tuner_tui.text import listed

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
REWARD_TASK = "SEQ_CLS"
"""PEFT's task type of a reward model's adapter, which brings a head along."""


class AdapterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What adapter_config.json says, as far as starting from it needs."""

    kind: str = msgspec.field(name="peft_type", default="")
    task: str | None = msgspec.field(name="task_type", default=None)
    base: str | None = msgspec.field(name="base_model_name_or_path", default=None)
    rank: int = msgspec.field(name="r", default=0)
    alpha: float = msgspec.field(name="lora_alpha", default=0.0)
    targets: Any = msgspec.field(name="target_modules", default=None)
    dora: bool = msgspec.field(name="use_dora", default=False)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    try:
        return (folder / CONFIG_FILE).is_file()
    except (OSError, ValueError):  # too long, or a null character
        return False


def read_adapter(folder: Path) -> AdapterFacts:
    """An adapter's facts. Raises InputError for a folder without an adapter that can be trained on, as safetensors."""
    try:
        facts = msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=AdapterFacts)
    except (OSError, ValueError) as error:
        raise InputError("The adapter cannot be read", f"{folder / CONFIG_FILE}: {error}.") from error
    continued = {traits.peft_type: traits.title for traits in TRAITS.values() if traits.can_continue}
    if facts.kind not in continued:
        titles = listed(list(continued.values()), "or")
        raise InputError(
            "The adapter is of another kind",
            f"{folder} holds a {facts.kind or 'nameless'} adapter; only {titles} can be trained on.",
            f"Take an adapter of {titles}, or leave model.adapter out.",
        )
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            "The adapter has no weights",
            f"{folder} has no {WEIGHTS_FILE}.",
            "Take an adapter that was saved whole, as safetensors.",
        )
    return facts

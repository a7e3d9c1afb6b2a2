"""A PEFT adapter's own description, read from its folder without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tuner_tui import guarded
from tuner_tui.config.tunings.traits import TRAITS
from tuner_tui.errors import InputError
from tuner_tui.text import listed

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
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


def refuse_adapter_beside(base: Path) -> None:
    """Raise InputError for a base's folder with an adapter in it, which transformers would load without a word."""
    if is_adapter(base):
        raise InputError(
            "An adapter lies in the base's folder",
            f"{base / CONFIG_FILE}: the base would be loaded together with that adapter, or another base in its place.",
            "Move the adapter's files to a folder of their own; model.adapter or the chat can name it there.",
        )


def require_safetensors(folder: Path) -> None:
    """Raise InputError for an adapter whose weights are a Python pickle, or not there."""
    refuse_pickle(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            "The adapter has no weights",
            f"{folder} has no {WEIGHTS_FILE}.",
            "Take an adapter that was saved whole, as safetensors.",
        )


def refuse_pickle(folder: Path) -> None:
    """Raise InputError for an adapter whose only weights are a Python pickle."""
    if (folder / WEIGHTS_FILE).is_file():
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise InputError(
            "The adapter is a Python pickle",
            f"{folder / pickles[0]}: loading it could run any code, so it is never loaded.",
            f"Ask its author for {WEIGHTS_FILE}; PEFT saves that by default.",
        )


def read_adapter(folder: Path) -> AdapterFacts:
    """An adapter's facts. Raises InputError for a folder without an adapter that can be trained on, as safetensors."""
    try:
        facts = guarded.read_json(folder / CONFIG_FILE, AdapterFacts)
    except guarded.Unreadable as error:
        raise InputError(
            "The adapter cannot be read", f"{folder / CONFIG_FILE}: {error.problem}.", error.hint
        ) from error
    continued = {traits.peft_type: traits.title for traits in TRAITS.values() if traits.can_continue}
    if facts.kind not in continued:
        titles = listed(list(continued.values()), "or")
        raise InputError(
            "The adapter is of another kind",
            f"{folder} holds a {facts.kind or 'nameless'} adapter; only {titles} can be trained on.",
            f"Take an adapter of {titles}, or leave model.adapter out.",
        )
    require_safetensors(folder)
    return facts

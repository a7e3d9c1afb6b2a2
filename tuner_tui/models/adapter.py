"""A PEFT adapter's own description, read from its folder without torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from tuner_tui import guarded
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import TRAITS
from tuner_tui.errors import InputError
from tuner_tui.models.safetensors_header import read_safetensors
from tuner_tui.text import listed

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
REWARD_TASK = "SEQ_CLS"
"""PEFT's task type of a reward model's adapter, which includes a head."""


class AdapterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The values of adapter_config.json that are needed to start from the adapter."""

    kind: str = msgspec.field(name="peft_type", default="")
    task: str | None = msgspec.field(name="task_type", default=None)
    base: str | None = msgspec.field(name="base_model_name_or_path", default=None)
    rank: int | None = msgspec.field(name="r", default=0)
    alpha: float | None = msgspec.field(name="lora_alpha", default=0.0)
    targets: Any = msgspec.field(name="target_modules", default=None)
    dora: bool = msgspec.field(name="use_dora", default=False)
    rslora: bool = msgspec.field(name="use_rslora", default=False)
    init: Any = msgspec.field(name="init_lora_weights", default=True)
    """How it was initialised; some ways change the base's own weights."""
    tokens: Any = msgspec.field(name="trainable_token_indices", default=None)
    """The tokens whose embedding rows are trained too; a list, or one for each embedding."""
    modules: Any = msgspec.field(name="modules_to_save", default=None)
    """Modules of the base that are trained as a whole."""
    bias: str | None = None
    """Which of the base's biases are trained too: none, all or lora_only."""
    virtual_tokens: int | None = msgspec.field(name="num_virtual_tokens", default=None)
    """Of prompt tuning and similar."""

    @property
    def takes_modules(self) -> bool:
        """Whether it puts itself in the place of the base's own modules or biases, instead of beside their weights."""
        return bool(self.modules or self.tokens) or self.bias not in (None, "none")


def is_adapter(folder: Path) -> bool:
    """Whether a folder has a PEFT adapter."""
    try:
        return (folder / CONFIG_FILE).is_file()
    except (OSError, ValueError):  # too long, or a NUL character
        return False


def refuse_adapter_beside(base: Path) -> None:
    """Raise InputError if a base's folder contains an adapter, which transformers would load silently."""
    if is_adapter(base):
        raise InputError(
            "The base's folder contains an adapter",
            f"{base / CONFIG_FILE}: transformers would load the base with that adapter, or another base.",
            "Move the adapter's files to another folder, and use it with model.adapter or in the chat.",
        )


def require_safetensors(folder: Path) -> None:
    """Raise InputError for an adapter whose weights are a Python pickle or missing."""
    refuse_pickle(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            "The adapter has no weights",
            f"{folder} has no {WEIGHTS_FILE}.",
            "Use an adapter that was saved completely, as safetensors.",
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


def read_adapter_facts(folder: Path) -> AdapterFacts:
    """The facts of an adapter of any kind. Raises InputError when its adapter_config.json cannot be read."""
    try:
        return guarded.read_json(folder / CONFIG_FILE, AdapterFacts)
    except guarded.Unreadable as error:
        raise InputError(
            "The adapter cannot be read", f"{folder / CONFIG_FILE}: {error.problem}.", error.hint
        ) from error


def read_adapter(folder: Path) -> AdapterFacts:
    """An adapter's facts. Raises InputError for a folder without an adapter that can be trained on, as safetensors."""
    facts = read_adapter_facts(folder)
    continued = {traits.peft_type: traits.title for traits in TRAITS.values() if traits.can_continue}
    if facts.kind not in continued:
        titles = listed(list(continued.values()), "or")
        raise InputError(
            "The adapter's type is not supported",
            f"{folder} has a {facts.kind or 'untyped'} adapter; only {titles} can be trained on.",
            f"Use an adapter of {titles}, or remove model.adapter.",
        )
    require_safetensors(folder)
    return facts


def require_plain_head(folder: Path, method: str) -> None:
    """Raise InputError for a method whose loss reads the output layer's weights, where the adapter is on that layer."""
    if not method_traits(method).reads_head_weights:
        return
    try:
        names = read_safetensors(folder / WEIGHTS_FILE)
    except InputError:  # what is wrong with the file is told when it is compared with the base, or loaded
        return
    if not any(re.search(r"\blm_head\.(lora_|ia3_l)", name) for name in names):
        return
    raise InputError(
        "The adapter is on the output layer",
        f"{folder}: it has weights for lm_head, and the loss of method {method} reads the output layer's weights "
        "directly, without an adapter.",
        f"Use an adapter without lm_head in its target_modules, or method {_with_logits()}.",
    )


def _with_logits() -> str:
    """The methods that train with the model's own logits."""
    return listed([kind for kind, traits in METHODS.items() if traits.head == "logits"], "or")


def require_untied_tokens(method: str) -> None:
    """Raise InputError for a method that cannot train an adapter's tokens on a base with tied embeddings."""
    if not method_traits(method).reads_head_weights:
        return
    raise InputError(
        "The adapter has trained tokens, and the base ties its embeddings",
        f"trainable_token_indices: the loss of method {method} reads the output layer's weights directly, without the "
        "trained rows.",
        f"Use an adapter without trained tokens, or method {_with_logits()}.",
    )

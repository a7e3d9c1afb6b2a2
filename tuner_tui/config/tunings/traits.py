"""The traits of the tunings, one record each, read by planning, runs, sharing, screens and the worker.

Plain data, without torch and pydantic. No other file asks for a tuning by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExportForm = Literal["adapter", "merged", "gguf-adapter", "gguf", "ollama", "script", "archive"]
TuningKind = Literal["lora", "full", "ia3"]
LoadedPrecision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]


@dataclass(frozen=True, kw_only=True)
class TuningTraits:
    """The traits of one tuning. None has a default: each tuning decides on each."""

    title: str
    """Its usual name."""
    learning_rate: float
    """The usual learning rate for supervised fine-tuning."""
    precisions: tuple[LoadedPrecision, ...]
    """Precisions in which the base may be loaded."""
    is_adapter: bool
    """Whether an adapter is trained on the frozen base; else the result is a full model."""
    peft_type: str | None
    """PEFT's name of the adapter type in adapter_config.json."""
    can_continue: bool
    """Whether a run can start from an adapter of this kind."""
    is_mergeable: bool
    """Whether the adapter can be merged into the weights of its base."""
    has_virtual_tokens: bool
    """Whether trained virtual tokens come before each row, which packing would put before the first row only."""
    reference: Literal["adapter off", "second model"]
    """Where the base before training is, for methods that compare with it."""
    export_forms: tuple[ExportForm, ...]


TRAITS: dict[TuningKind, TuningTraits] = {
    "lora": TuningTraits(
        title="LoRA",
        learning_rate=2e-4,
        precisions=("fp32", "bf16", "fp16", "int8", "nf4"),
        is_adapter=True,
        peft_type="LORA",
        can_continue=True,
        is_mergeable=True,
        has_virtual_tokens=False,
        reference="adapter off",
        export_forms=("adapter", "merged", "gguf-adapter", "gguf", "ollama", "script", "archive"),
    ),
    "full": TuningTraits(
        title="full tuning",
        learning_rate=2e-5,
        precisions=("fp32", "bf16"),
        is_adapter=False,
        peft_type=None,
        can_continue=False,
        is_mergeable=False,
        has_virtual_tokens=False,
        reference="second model",
        export_forms=("merged", "gguf", "ollama", "script", "archive"),
    ),
    "ia3": TuningTraits(
        title="IA3",
        learning_rate=3e-3,  # arXiv 2205.05638
        precisions=("fp32", "bf16", "fp16", "int8", "nf4"),
        is_adapter=True,
        peft_type="IA3",
        can_continue=True,
        is_mergeable=True,
        has_virtual_tokens=False,
        reference="adapter off",
        export_forms=("adapter", "merged", "gguf", "ollama", "archive"),
    ),
}
"""The tunings that run.toml can name."""

_ALL: dict[str, TuningTraits] = {
    **{str(kind): traits for kind, traits in TRAITS.items()},
    "prompt": TuningTraits(
        title="prompt tuning",
        learning_rate=3e-1,
        precisions=("fp32", "bf16"),
        is_adapter=True,
        peft_type="PROMPT_TUNING",
        can_continue=False,
        is_mergeable=False,
        has_virtual_tokens=True,
        reference="adapter off",
        export_forms=(),
    ),
}
"""With those whose memory can be estimated, but which cannot be run yet."""
DEFAULT_TUNING: TuningKind = "lora"
"""The default tuning."""


def tuning_traits(kind: str) -> TuningTraits:
    """The traits of a tuning. Raises KeyError for an unknown one."""
    return _ALL[kind]

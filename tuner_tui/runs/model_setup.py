"""How a worker has loaded and adapted a model, where that is not the usual way."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tuner_tui.planning.choices import ADAPTED_LAYERS, ADAPTED_PART, MODEL_CLASS, ROUTER_LOSS
from tuner_tui.planning.plan import Choice


class ModelSetup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What only the loaded model's class tells; each is False for a plain language model."""

    is_multimodal: bool = False
    """Whether AutoModelForMultimodalLM loads it, since AutoModelForCausalLM does not know its type."""
    is_partly_adapted: bool = False
    """Whether not all linear layers have adapters: text does not reach all of them, or PEFT refuses some."""
    is_without_router_loss: bool = False
    """Whether the router's auxiliary loss is off, because TRL cannot compute it."""

    def with_also(self, other: ModelSetup) -> ModelSetup:
        """Both together."""
        return ModelSetup(
            is_multimodal=self.is_multimodal or other.is_multimodal,
            is_partly_adapted=self.is_partly_adapted or other.is_partly_adapted,
            is_without_router_loss=self.is_without_router_loss or other.is_without_router_loss,
        )


def setup_in_words(choices: Iterable[Choice]) -> ModelSetup:
    """The setup that choices tell in words: events of earlier versions have nothing else."""
    names = {choice.name for choice in choices}
    return ModelSetup(
        is_multimodal=MODEL_CLASS in names,
        is_partly_adapted=not names.isdisjoint((ADAPTED_PART, ADAPTED_LAYERS)),
        is_without_router_loss=ROUTER_LOSS in names,
    )

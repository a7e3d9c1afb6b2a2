"""The auto class of transformers that loads a model which writes text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM

from tuner_tui.errors import InputError
from tuner_tui.models.architectures import architecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def is_plain_language_model(config: PreTrainedConfig) -> bool:
    """Whether AutoModelForCausalLM is the class to load with."""
    has_own_code = AutoModelForCausalLM.__name__ in (getattr(config, "auto_map", None) or {})
    is_known = type(config) in AutoModelForCausalLM._model_mapping
    return has_own_code or is_known or type(config) not in AutoModelForMultimodalLM._model_mapping


def language_model_class(config: PreTrainedConfig) -> Any:
    """AutoModelForCausalLM; for models with images or sound that it does not know, AutoModelForMultimodalLM.

    The latter gives the whole model, which reads text as its language model does. Raises InputError for types that are
    not verified to do so.
    """
    if is_plain_language_model(config):
        return AutoModelForCausalLM
    known = architecture(config.model_type)
    if known is not None and known.reads_text is not True:
        raise InputError(
            "The model cannot be loaded for training",
            f"AutoModelForCausalLM does not know {config.model_type}, and its class is not known to train on text "
            "alone.",
            "Use another model.",
        )
    return AutoModelForMultimodalLM

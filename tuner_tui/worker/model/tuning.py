"""Sets up what is trained: an adapter on the frozen base, or all weights."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from transformers import set_seed

from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import InputError
from tuner_tui.models.adapter import require_safetensors, require_untied_tokens

if TYPE_CHECKING:
    from pathlib import Path

    from peft import PeftConfig

    from tuner_tui.config.spec import RunSpec

HEAD = "score"
"""transformers' name of the head of a model that scores sequences."""


def peft_config(spec: RunSpec, model: Any, *, has_head: bool = False) -> PeftConfig | None:
    """PEFT's configuration of the spec's tuning; None for full tuning. Raises InputError for unknown targets.

    With `has_head` the model scores sequences, and its head is trained and saved with the adapter.
    """
    if not tuning_traits(spec.tuning.kind).is_adapter:
        return None
    shared = {
        "task_type": "SEQ_CLS" if has_head else "CAUSAL_LM",
        "modules_to_save": [HEAD] if has_head else None,
    }
    config: PeftConfig = _file_of(spec).peft_config(spec.tuning, model, shared)
    return config


def left_out(spec: RunSpec, model: Any) -> list[str]:
    """Layers that the spec's targets take in and that cannot be adapted, by the last parts of their names."""
    return (
        list(_file_of(spec).left_out(spec.tuning, model))
        if tuning_traits(spec.tuning.kind).is_adapter
        else []
    )


def _file_of(spec: RunSpec) -> Any:
    """The module of the spec's tuning."""
    return import_module(f"tuner_tui.worker.tunings.{spec.tuning.kind}")


def new_adapter(spec: RunSpec, model: Any, *, has_head: bool = False) -> Any:
    """The model with a fresh adapter, drawn by the run's seed; the model itself for full tuning. Raises InputError."""
    config = peft_config(spec, model, has_head=has_head)
    if config is None:
        return model
    from peft import get_peft_model

    set_seed(spec.training.seed)
    return get_peft_model(model, config)


def continued_adapter(spec: RunSpec, model: Any, folder: Path, *, has_head: bool = False) -> Any:
    """The model with an earlier adapter, ready to be trained on. Raises InputError when it does not fit the base.

    An adapter of a language model gets a new head where one is needed. It names this base from now on.
    """
    from peft import PeftConfig, PeftModel, get_peft_model
    from peft.utils import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict

    require_safetensors(folder)
    config: Any = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False
    config.base_model_name_or_path = model.name_or_path
    _file_of(spec).continue_with(spec.tuning, config)
    if (
        getattr(config, "trainable_token_indices", None)
        and model.config.get_text_config().tie_word_embeddings
    ):
        require_untied_tokens(spec.method.kind)
    try:
        if not has_head or config.task_type == "SEQ_CLS":
            tuned = PeftModel.from_pretrained(model, str(folder), config=config, is_trainable=True)
            require_all_loaded(tuned, folder)
            return tuned
        config.task_type, config.modules_to_save = "SEQ_CLS", [HEAD]
        set_seed(spec.training.seed)
        tuned = get_peft_model(model, config)
        earlier = load_peft_weights(str(folder), device="cpu")
        set_peft_model_state_dict(tuned, get_peft_model_state_dict(tuned) | earlier)  # the head is new
    except (RuntimeError, ValueError, KeyError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise InputError(
            "The adapter does not fit the base",
            f"model.adapter: {first}",
            "Use an adapter that was trained on this base.",
        ) from error
    return tuned


def require_all_loaded(model: Any, folder: Path, name: str = "default") -> None:
    """Raise InputError when an adapter's file lacks weights that the model has a place for, or has others.

    PEFT only warns of the former, and drops the latter: a base with more or fewer layers looks as if it fitted.
    """
    if model.peft_config[name].is_prompt_learning:
        return  # its file has the virtual tokens alone
    loaded = model.load_adapter(str(folder), name, is_trainable=not model.peft_config[name].inference_mode)
    without, unused = loaded.missing_keys, loaded.unexpected_keys
    if without or unused:
        what = f"it has no {without[0]}" if without else f"the base has no place for {unused[0]}"
        raise InputError(
            "The adapter does not fit the base",
            f"{folder}: {what}.",
            "Use the base that the adapter was trained on.",
        )


def trained_values(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the parameters that will be trained."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def put_back(model: Any, values: dict[str, torch.Tensor]) -> None:
    """Restore loaded parameters that a trainer has rounded."""
    for name, parameter in model.named_parameters():
        if name in values:
            parameter.data = values[name].to(parameter.device)


def write_no_model_card(model: Any) -> None:
    """Keep PEFT from writing a model card at each save: it is empty, and slower to write than a small adapter."""
    if hasattr(model, "create_or_update_model_card"):
        model.create_or_update_model_card = lambda *_, **__: None


def quiet_dropout(model: Any) -> None:
    """Switch off dropout whose rate is a number in a model's own code; TRL's `disable_dropout` knows modules alone.

    OPT and StarCoder's class would otherwise drop different values in the policy and in the reference.
    """
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and value > 0 and name.endswith(("dropout", "layerdrop")):
                setattr(module, name, 0.0)


def wake_dropout(model: Any, spec: RunSpec) -> None:
    """Re-enable the adapter's dropout: preference trainers disable all dropout, so that the reference has none."""
    if tuning_traits(spec.tuning.kind).is_adapter:
        _file_of(spec).wake_dropout(spec.tuning, model)


def keep_adapter_in_fp32(model: Any) -> None:
    """Cast an adapter's weights to fp32; with full tuning they stay in the configured precision.

    TRL casts adapters on quantised bases to bf16 when it builds its trainer; some kinds then silently train nothing,
    and a reloaded adapter differs.
    """
    if not hasattr(model, "peft_config"):
        return
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def count_parameters(model: Any) -> tuple[int, int]:
    """(all, trained) parameters; packed 4-bit weights are counted unpacked."""
    total = trained = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if parameter.__class__.__name__ == "Params4bit":
            shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
            count = shape.numel() if shape is not None else count * 2
        total += count
        trained += count if parameter.requires_grad else 0
    return total, trained

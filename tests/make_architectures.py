"""Makes the table of architectures from the installed libraries: `python -m tests.make_architectures`.

What transformers' configuration and model classes and PEFT say of each model type, of tiny models without data.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from peft.utils import get_peft_model_state_dict
from peft.utils import transformers_weight_conversion as conversion
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    rename_source_key,
    revert_weight_conversion,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D
from trl.trainer.utils import add_fused_lm_head

import tuner_tui.models
from tests.tiny_architectures import LANGUAGE_TYPES, tiny_config, whole_class
from tuner_tui.models.architectures import TABLE, Architecture, Table, encode
from tuner_tui.models.config_keys import SIZE_KEYS
from tuner_tui.models.weight_count import is_in_tower
from tuner_tui.worker.model.reached import (
    _beside_decoder,
    is_without_text,
    parts_without_text,
    takes_more_than_text,
)
from tuner_tui.worker.model.targets import gives_several

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = Path(tuner_tui.models.__path__[0]) / TABLE
LARGEST_MADE = 20_000_000
"""Parameters of the largest model that is made with weights."""
CLOSE = 1e-3
"""Losses that differ more are of another computation."""
TEXT_KEYS = ("text_config", "llm_config", "language_config", "decoder_config", "thinker_config")


def make_table(types: Iterable[str] = LANGUAGE_TYPES) -> Table:
    """The table of these model types, and of the language models inside them."""
    made: dict[str, Architecture] = {}
    todo = list(types)
    while todo:
        model_type = todo.pop()
        if model_type in made:
            continue
        made[model_type] = describe(model_type)
        if made[model_type].text_type in CONFIG_MAPPING:
            todo.append(made[model_type].text_type)
    return Table(
        versions={"transformers": transformers.__version__, "peft": peft.__version__},
        expert_types=_expert_types(),
        expert_parts=dict(conversion._MOE_TARGET_MODULE_MAPPING),
        fused_parts={
            name: {tensor: list(parts) for tensor, parts in fused.items()}
            for name, fused in conversion._MOE_FUSED_TARGETS.items()
        },
        types=made,
    )


def describe(model_type: str) -> Architecture:
    """One model type."""
    kind = CONFIG_MAPPING[model_type]
    facts: dict[str, Any] = {"defaults": _defaults(kind)}
    facts |= _nested(kind)
    facts["can_score"] = model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    loader: Any = None
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        facts["loader"], loader = "causal", AutoModelForCausalLM
    elif model_type in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
        facts["loader"], loader = "multimodal", AutoModelForMultimodalLM
    if loader is not None:
        facts |= _modules(model_type, loader)
        if "linear" in facts:
            facts["reads_text"] = _reads_text(model_type, loader)
    return Architecture(**facts)


def _defaults(kind: Any) -> dict[str, Any]:
    """Plain numbers and switches among a class's defaults, before it derives others from them."""
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.name in SIZE_KEYS and isinstance(field.default, int)
    }


def _nested(kind: Any) -> dict[str, str]:
    """The settings of a language model inside."""
    parts = getattr(kind, "sub_configs", {})
    key = next((key for key in TEXT_KEYS if key in parts), None)
    if key is None:
        return {}
    try:
        inner = type(getattr(kind(), key))
    except Exception:  # classes whose own defaults do not fit together
        inner = parts[key]
    return {"text_key": key, "text_type": getattr(inner, "model_type", "")}


def _modules(model_type: str, loader: Any) -> dict[str, Any]:
    """The structure of the model that a run loads; empty for a type of which no tiny model can be made."""
    try:
        config = tiny_config(model_type)
        with torch.device("meta"):
            model = loader.from_config(config)
            whole = whole_class(model_type)(config)
        head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    except Exception as error:
        print(f"{model_type}: modules unknown: {str(error).splitlines()[0][:150]}", file=sys.stderr)
        return {}
    beside = _beside(whole)
    linear, plain, transposed, refused, names = set(), set(), set(), set(), {}
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if module is head or module is embedding:
            names[id(module)] = last
            continue
        if beside & set(name.split(".")) or is_in_tower(name):
            continue
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Linear | Conv1D):
            linear.add(last)
            if isinstance(module, Conv1D):
                transposed.add(last)
            if _is_refused(last, model) or gives_several(module):
                refused.add(last)
        elif isinstance(weight, torch.nn.Parameter) and weight.dim() == 2:
            plain.add(last)
    stored = _stored(whole, beside, linear)
    is_text = model.config.model_type != model_type and model.config.model_type != config.model_type
    known = {"sdpa": "_supports_sdpa", "flash_attention_2": "_supports_flash_attn"}
    facts = {
        "loader": "text" if is_text else "causal" if loader is AutoModelForCausalLM else "multimodal",
        "linear": tuple(sorted(linear)),
        "plain": tuple(sorted(plain - linear)),
        "refused": tuple(sorted(refused)),
        "transposed": tuple(sorted(transposed)),
        "divided": stored.divided,
        "joined": stored.joined,
        "head": names.get(id(head), ""),
        "embedding": names.get(id(embedding), ""),
        "beside": tuple(sorted(beside | stored.beside)),
        "ignored": tuple(_ignored(model)),
        "attention": tuple(name for name, flag in known.items() if getattr(model, flag, False)),
        "can_checkpoint": model.supports_gradient_checkpointing,
    }
    idle = _idle(model_type, loader, beside, refused)
    facts["refused"] = tuple(sorted({*refused, *idle}))
    return facts | {
        "lost": _lost(model, beside, {*refused, *idle}),
        "unquantised": _unquantised(model_type, loader),
    }


def _beside(whole: Any) -> set[str]:
    """The last parts of the names of the modules that text does not run through."""
    parts = getattr(whole.config, "sub_configs", {})
    names = {name.rpartition(".")[2] for name in _beside_decoder(whole) if parts} - {"lm_head"}
    if not takes_more_than_text(whole) or whole.num_parameters() > LARGEST_MADE:
        return names
    with torch.random.fork_rng(devices=[]):
        made = type(whole)(whole.config)
    for parameter in made.parameters():
        parameter.data = torch.nan_to_num(parameter.data, 0.0, 0.0, 0.0)
    outside = parts_without_text(made)
    inside = {
        part
        for name, _ in made.named_modules()
        if not is_without_text(name, outside)
        for part in name.split(".")
    }
    missed = {name.rpartition(".")[2] for name in outside} - inside
    return names | {name for name in missed if not name.isdigit()}


class _Stored(NamedTuple):
    """How the files of a type name what is loaded otherwise; see Architecture."""

    divided: dict[str, tuple[str, ...]]
    joined: dict[str, tuple[str, ...]]
    beside: set[str]


def _stored(whole: Any, beside: set[str], linear: set[str]) -> _Stored:
    """The names in files as transformers saves them, and those of the modules as its conversions load them.

    Only linear layers are followed, and conversions that divide or join outputs: experts have their own count.
    """
    state = {name: tensor for name, tensor in whole.state_dict().items() if name.endswith(".weight")}
    changes = get_model_conversion_mapping(whole, add_legacy=False)
    converters = {
        pattern: each
        for each in changes
        if isinstance(each, WeightConverter)
        for pattern in each.source_patterns
    }
    renamings = [each for each in changes if isinstance(each, WeightRenaming)]
    divided: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    joined: dict[str, tuple[str, ...]] = {}
    inside: set[str] = set()
    outside: set[str] = set()
    for stored in revert_weight_conversion(whole, state):
        loaded, pattern = rename_source_key(
            stored, renamings, [each for each in changes if isinstance(each, WeightConverter)],
            whole.base_model_prefix, state,
        )  # fmt: skip
        is_outside = not beside.isdisjoint(loaded.split(".")) or is_in_tower(loaded)
        (outside if is_outside else inside).add(stored)
        old, new = (name.removesuffix(".weight").rpartition(".")[2] for name in (stored, loaded))
        if is_outside or new not in linear or ".experts" in loaded:
            continue
        converter = converters.get(pattern or "")
        targets: tuple[str, ...] = (new,)
        if converter is not None and len(converter.target_patterns) > 1:
            targets = tuple(_last(each) for each in converter.target_patterns)
        elif converter is not None and len(converter.source_patterns) > 1:
            joined[new] = tuple(_last(each) for each in converter.source_patterns)
            targets = (old,)
        divided[old].add(targets)
    parts = {part for name in inside for part in name.split(".")}
    begins = (next((part for part in name.split(".") if part not in parts), "") for name in outside)
    return _Stored(
        {
            old: next(iter(each))
            for old, each in sorted(divided.items())
            if len(each) == 1 and each != {(old,)}
        },
        joined,
        {part for part in begins if part and not part.isdigit()},
    )


def _last(pattern: str) -> str:
    """The module that a conversion's pattern of a weight is of."""
    return pattern.removesuffix(".weight").removesuffix(r"\.weight").rpartition(".")[2]


def _lost(model: Any, beside: set[str], refused: set[str]) -> tuple[str, ...]:
    """Adapted layers whose saved names PEFT makes others of when it reads them; changes the model."""
    names = _adaptable(model, beside, refused)
    config = LoraConfig(target_modules=names, task_type="CAUSAL_LM")
    try:
        saved = get_peft_model_state_dict(get_peft_model(model, config))
    except Exception:  # a type that PEFT does not adapt
        return ()
    read = conversion.convert_peft_adapter_state_dict_for_transformers(model, config, saved)
    modules = (name.partition(".lora_")[0] for name in saved if name not in read)
    return tuple(sorted({".".join(name.split(".")[-2:]) for name in modules}))


def _idle(model_type: str, loader: Any, beside: set[str], refused: set[str]) -> set[str]:
    """The last parts of the names of linear layers whose adapters get no gradient, in whatever layer they stand."""
    model = _with_weights(model_type, loader)
    if model is None:
        return set()
    names = _adaptable(model, beside, refused)
    try:
        tuned: Any = get_peft_model(model, LoraConfig(target_modules=names, task_type="CAUSAL_LM"))
    except Exception:  # a type that PEFT does not adapt
        return set()
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    if not _backward(tuned):
        return set()
    moved: defaultdict[str, bool] = defaultdict(bool)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            module = name.partition(".lora_")[0].rpartition(".")[2]
            moved[module] |= parameter.grad is not None and bool(parameter.grad.any())
    return (
        {name for name, has_gradient in moved.items() if not has_gradient} if any(moved.values()) else set()
    )


def _unquantised(model_type: str, loader: Any) -> tuple[str, ...]:
    """Linear layers that are not called, though their weights are used, also in a model that says it is quantised."""
    model = _with_weights(model_type, loader)
    if model is None:
        return ()
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(config, transformers.PreTrainedConfig):
            config._is_quantized = True
    called: set[str] = set()
    linear = {name: module for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    for name, module in linear.items():
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
    if not _backward(model):
        return ()
    gradients = {name: module.weight.grad for name, module in linear.items() if name not in called}
    used = (name for name, gradient in gradients.items() if gradient is not None and gradient.any())
    return tuple(sorted({name.rpartition(".")[2] for name in used}))


def _with_weights(model_type: str, loader: Any, *, has_random_vectors: bool = True) -> Any:
    """The tiny model with random weights, also where training would begin with zeros; None if it is too large.

    Without `has_random_vectors` parameters of one dimension keep what they begin with.
    """
    config = tiny_config(model_type)
    with torch.device("meta"):
        if loader.from_config(config).num_parameters() > LARGEST_MADE:
            return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = loader.from_config(config).train()
        for parameter in model.parameters():
            spread = 0.05 if has_random_vectors or parameter.dim() > 1 else 0.0
            noise = torch.randn_like(parameter) * spread
            parameter.data = torch.nan_to_num(parameter.data, 0.0, 0.0, 0.0) + noise
    return model


def _backward(model: Any) -> bool:
    """Compute the gradients of a loss on a few tokens; False for a tiny model that fails for a reason of its sizes."""
    ids = torch.arange(20, 52).reshape(2, 16)
    try:
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False).loss.backward()
    except Exception:
        return False
    return True


def _adaptable(model: Any, beside: set[str], refused: set[str]) -> list[str]:
    """The full names of the linear layers of a text model, the output layer and some others apart."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not model.get_output_embeddings()
        and not beside & set(name.split("."))
        and not is_in_tower(name)
        and name.rpartition(".")[2] not in refused
    ]


def _reads_text(model_type: str, loader: Any) -> bool | None:
    """Whether the loss of TRL's fused output layer is that of the model's own logits, on a few tokens.

    None where the tiny model fails for a reason of its sizes, or is too large to make.
    """
    model = _with_weights(
        model_type, loader, has_random_vectors=False
    )  # fresh ones are too small to tell losses apart
    if model is None:
        return None
    model.eval()
    ids = torch.arange(20, 28)[None]
    wanted = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    try:
        with torch.no_grad():
            logits = model(**wanted, use_cache=False).logits[0, :-1].float()
    except (TypeError, ValueError):  # it asks for an image
        return False
    except Exception:
        return None
    own = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
    try:
        add_fused_lm_head(model)
        with torch.no_grad():
            fused = -model(**wanted, labels=ids, fused_lm_head=True).log_probs.mean()
    except Exception:
        return False
    return bool((own - fused).abs() < CLOSE)


def _is_refused(name: str, model: Any) -> bool:
    """Whether PEFT refuses LoRA on a module of this name."""
    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, name)
    except ValueError:
        return True
    return False


def _ignored(model: Any) -> Iterator[str]:
    """The class's patterns of unexpected tensors; some match the model's own, too, unless they begin with a name."""
    own = model.state_dict().keys()
    for pattern in sorted(model._keys_to_ignore_on_load_unexpected or ()):
        for each in (pattern, rf"(?:^|\.){pattern}$"):
            if not any(re.search(each, name) for name in own):
                yield each
                break


def _expert_types() -> dict[str, str]:
    """The model types whose experts PEFT adapts, as its `_convert_peft_config_moe` finds them."""
    return {
        name: mapping
        for name, mapping in sorted(conversion._MODEL_TO_CONVERSION_PATTERN.items())
        if mapping in conversion._MOE_FUSED_TARGETS
        and name in CONFIG_MAPPING.keys()  # noqa: SIM118 - its `in` loads classes
        and conversion.get_checkpoint_conversion_mapping(name) is not None
    }


def main() -> None:
    """Write the table."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    made = make_table()
    FILE.write_text(encode(made), encoding="utf-8")
    assert msgspec.json.decode(FILE.read_bytes(), type=Table) == made
    print(f"{FILE}: {len(made.types)} model types", file=sys.stderr)


if __name__ == "__main__":
    main()

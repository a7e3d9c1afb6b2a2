"""What the installed libraries know of each model type, from a table made by tests/make_architectures.py.

The table has the defaults of transformers' configuration classes, which published settings leave out, and what PEFT and
transformers make of each type's modules. It is data, so that the app knows both without importing PyTorch.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

TABLE = "architectures.json"
EXTRA_PACKAGES = dict.fromkeys(("gemma3n", "fast_vlm", "perception_lm"), ("timm", "pillow"))
"""Packages that loading some types needs beyond those of this program."""
Loader = Literal["text", "causal", "multimodal", ""]


class Architecture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model type. Names are the last parts of modules' names."""

    loader: Loader = ""
    """How a run loads it: AutoModelForCausalLM gives the whole model (causal) or only the language model of one with
    images or sound (text); others only AutoModelForMultimodalLM knows, whole; empty where neither does."""
    text_key: str = ""
    """The key of the language model's own settings; empty where they are not nested."""
    text_type: str = ""
    """The language model's type, if its settings name none."""
    defaults: dict[str, Any] = {}
    """The configuration class's defaults of the sizes that are read here, by their keys."""
    linear: tuple[str, ...] = ()
    """Linear layers outside towers, the output layer apart: `all-linear` adapts them, bitsandbytes quantises them."""
    plain: tuple[str, ...] = ()
    """Modules with a matrix that are no linear layers, such as routers."""
    refused: tuple[str, ...] = ()
    """Of `linear`, those that LoRA cannot adapt: PEFT refuses some whose weights kernels read past the adapter, routers
    that are linear layers give more than one tensor, and adapters get no gradient where the model's own code reads the
    weight or chooses tokens by it."""
    unquantised: tuple[str, ...] = ()
    """Linear layers whose weights the model's own code reads even where they are quantised: its first step fails."""
    lost: tuple[str, ...] = ()
    """Linear layers whose adapters PEFT loses when it reads them back, by the last two parts of their names: it renames
    what has its final name already."""
    transposed: tuple[str, ...] = ()
    """Of `linear`, those that store (inputs, outputs)."""
    divided: dict[str, tuple[str, ...]] = {}
    """Matrices of the files that are loaded as others, by name: in equal parts where there is more than one."""
    joined: dict[str, tuple[str, ...]] = {}
    """Linear layers that are loaded from several matrices of the files, one below the other."""
    head: str = ""
    embedding: str = ""
    beside: tuple[str, ...] = ()
    """Modules beside the language model: towers and projectors; by their names in the files, too."""
    ignored: tuple[str, ...] = ()
    """Patterns of tensors in the files that are not loaded."""
    attention: tuple[str, ...] = ()
    """Attention kernels that it can be loaded with, besides eager."""
    can_checkpoint: bool = True
    """Whether transformers can recompute its activations."""
    reads_text: bool | None = None
    """Whether TRL's trainers give the model's own loss on text alone; None where no tiny model tells."""
    can_score: bool = False
    """Whether AutoModelForSequenceClassification knows it, which reward models need."""

    @property
    def is_known(self) -> bool:
        """Whether the structure of its modules is known."""
        return bool(self.linear)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table and the libraries that it was made from."""

    versions: dict[str, str]
    expert_types: dict[str, str]
    """The model types whose experts PEFT adapts as tensors, by the mapping that it uses; it leaves others out."""
    expert_parts: dict[str, dict[str, str]]
    """By mapping, the parts of experts that targets may name, and the tensors that they stand for."""
    fused_parts: dict[str, dict[str, list[str]]]
    """By mapping, the tensors that stand for several parts, which must be named together."""
    types: dict[str, Architecture]


@cache
def table() -> Table:
    """The table in this package."""
    return msgspec.json.decode((files(__package__) / TABLE).read_bytes(), type=Table)


def architecture(model_type: str | None) -> Architecture | None:
    """What is known of a model type; None for a type that the libraries of the table do not have."""
    return table().types.get(model_type or "")


def encode(made: Table) -> str:
    """The table as its file, one line a model type."""

    def line(value: Any) -> str:
        return json.dumps(msgspec.to_builtins(value), sort_keys=True)

    types = ",\n".join(f"{line(name)}: {line(each)}" for name, each in sorted(made.types.items()))
    heads = ("versions", "expert_types", "expert_parts", "fused_parts")
    head = ",\n".join(f"{line(name)}: {line(getattr(made, name))}" for name in heads)
    return f'{{{head},\n"types": {{\n{types}\n}}}}\n'

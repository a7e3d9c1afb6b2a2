"""Where the tensors of a model's files stand in the model that transformers loads from them.

The names differ for models whose files are older than their code, or which are loaded without their towers (Gemma 3,
Qwen3.5), and some tensors are converted: the experts of a mixture, each with tensors of its own in the files, are
loaded as one tensor for all. Names and conversions are transformers' own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    apply_renamings,
    dot_natural_key,
    rename_source_key,
)

from tuner_tui.worker.export.conversion import Conversion, Part

if TYPE_CHECKING:
    from collections.abc import Collection

_EXPERT = re.compile(r"\.(\d+)\.")


class LiveTensor(NamedTuple):
    """One tensor of the files, in the loaded model."""

    name: str
    """Such as model.layers.0.self_attn.q_proj.weight."""
    is_loaded: bool = True
    """Whether the model has it; parts that a class leaves out, such as a tower, are not loaded."""
    expert: int | None = None
    """Which expert's it is, where the loaded tensor is all experts' tensors stacked."""
    piece: int = 0
    pieces: int = 1
    """It is one of so many equal pieces of the expert's rows (gate and up stand in one tensor)."""
    conversion: Conversion | None = None
    """How it is loaded, where it is not loaded value by value."""


def live_tensors(names: Collection[str], skeleton: Any, unpacker: Any = None) -> dict[str, LiveTensor]:
    """Each tensor of the files by its name there, as transformers' `from_pretrained` loads them.

    `unpacker` is transformers' quantizer of packed files.
    """
    conversions = get_model_conversion_mapping(skeleton, hf_quantizer=unpacker)
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
    prefix, loaded = skeleton.base_model_prefix, skeleton.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in loaded.items()}
    together: dict[str, Conversion] = {}
    found: dict[str, LiveTensor] = {}
    for name in sorted(names, key=dot_natural_key):  # in this order: some renamings depend on those before
        live, pattern = rename_source_key(name, renamings, converters, prefix, loaded)
        if live not in loaded and name in loaded:
            live, pattern = rename_source_key(name, [], [], prefix, loaded)
        if pattern is None or live not in loaded:
            found[name] = LiveTensor(live, live in loaded)
            continue
        conversion = together.setdefault(live, Conversion(live, by_pattern[pattern], skeleton, shapes))
        conversion.parts.append(Part(name, apply_renamings(name, renamings), pattern))
        found[name] = _converted(name, live, pattern, conversion)
    return found


def _converted(name: str, live: str, pattern: str, conversion: Conversion) -> LiveTensor:
    merge, *rest = conversion.operations
    is_stack = (
        isinstance(merge, MergeModulelist)
        and merge.dim == 0
        and all(isinstance(each, Concatenate) and each.dim == 1 for each in rest)
        and len(rest) <= 1
    )
    numbers = _EXPERT.findall(name)
    if not is_stack or not numbers:
        return LiveTensor(live, conversion=conversion)
    patterns = conversion.patterns
    pieces = len(patterns) if rest else 1
    return LiveTensor(live, True, int(numbers[-1]), patterns.index(pattern), pieces, conversion)

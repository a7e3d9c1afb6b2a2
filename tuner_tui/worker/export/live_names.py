"""Where the tensors of a model's files stand in the model that transformers loads from them.

The names differ for models whose files are older than their code (Gemma 3's language model), and the experts of a
mixture, each with tensors of its own in the files, are loaded as one tensor for all (transformers 5).
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
    rename_source_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_EXPERT = re.compile(r"\.(\d+)\.")


class LiveTensor(NamedTuple):
    """One tensor of the files, in the loaded model."""

    name: str
    """Such as model.layers.0.self_attn.q_proj.weight."""
    expert: int | None = None
    """Which expert's it is, where the loaded tensor holds all of them."""
    piece: int = 0
    pieces: int = 1
    """It is one of so many equal pieces of the expert's rows (gate and up stand in one tensor)."""
    is_same: bool = True
    """Whether it is loaded value by value; False for a conversion that is not known here."""


def live_tensors(names: Iterable[str], skeleton: Any) -> dict[str, LiveTensor]:
    """Each tensor of the files by its name there."""
    conversions = get_model_conversion_mapping(skeleton)
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    loaded = skeleton.state_dict()
    found = {}
    for name in names:
        live, pattern = rename_source_key(name, renamings, converters, skeleton.base_model_prefix, loaded)
        if pattern is None:
            found[name] = LiveTensor(live)
            continue
        converter = next(each for each in converters if pattern in each.source_patterns)
        found[name] = _of_expert(name, live, pattern, converter)
    return found


def _of_expert(name: str, live: str, pattern: str, converter: Any) -> LiveTensor:
    merge, *rest = converter.operations
    is_known = (
        isinstance(merge, MergeModulelist)
        and merge.dim == 0
        and all(isinstance(each, Concatenate) and each.dim == 1 for each in rest)
        and len(rest) <= 1
    )
    numbers = _EXPERT.findall(name)
    if not is_known or not numbers:
        return LiveTensor(live, is_same=False)
    pieces = len(converter.source_patterns) if rest else 1
    return LiveTensor(live, int(numbers[-1]), converter.source_patterns.index(pattern), pieces)

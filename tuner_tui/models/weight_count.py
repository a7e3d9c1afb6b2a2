"""Counts a model's weights by kind: matrices that are quantised, experts, embeddings and the rest."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tuner_tui.models.architectures import Architecture

Place = Literal["layer", "expert", "router", "tower"]

_TOWER = re.compile(
    r"(?:^|\.)(?:vision_tower|vision_model|visual|vision_embed|image_encoder|multi_modal_projector|mm_projector"
    r"|audio_tower|audio_model|embed_vision|embed_audio|embed_tokens_extend|connector|aligner)(?:\.|$)"
)
_TABLES = frozenset(
    (
        "embed_tokens",
        "wte",
        "word_embeddings",
        "embed_in",
        "tok_embeddings",
        "embedding",
        "embeddings",
        "token_embd",
    )
)
_HEADS = frozenset(("lm_head", "embed_out", "output"))
_ROUTER = re.compile(r"(?:^|\.)(?:gate|router|gate_inp|ffn_gate_inp|shared_expert_gate)(?:\.layer|\.wg)?$")
_EXPERT = re.compile(r"\.experts\.|\.switch_mlp\.|_exps$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blk|blocks)\.(\d{1,6})\.")
_BUFFER = re.compile(r"(?:^|\.)(?:masked_bias|causal_mask|inv_freq)$")
SMALLEST_MASK = 64
_NUMBER = re.compile(r"\d+")
_QUANTISED = frozenset(("layer", "tower"))


def is_in_tower(name: str, known: Architecture | None = None) -> bool:
    """Whether a module or tensor is of a vision or audio tower, which text never reaches, by its name."""
    if _TOWER.search(name) is not None:
        return True
    return known is not None and not set(known.beside).isdisjoint(name.split("."))


def is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of the files is no parameter, but what older code stored beside: a causal mask, frequencies."""
    if _BUFFER.search(name):
        return True
    return len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3] >= SMALLEST_MASK


def is_loaded(name: str, known: Architecture | None) -> bool:
    """Whether a run loads a tensor of the files, by its name and what is known of the model's type."""
    if known is None:
        return True
    if known.loader == "text" and is_in_tower(name, known):
        return False
    return not any(re.search(pattern, name) for pattern in known.ignored)


@dataclass(frozen=True)
class Matrix:
    """Linear layers with the same name and size."""

    name: str
    """The last part of the module's name, such as q_proj."""
    inputs: int
    outputs: int
    count: int
    place: Place = "layer"
    """A linear layer of the language model, one expert of many, their router, or in a vision or audio tower."""

    @property
    def elements(self) -> int:
        """Elements in all of them."""
        return self.inputs * self.outputs * self.count


@dataclass(frozen=True)
class WeightCount:
    """All parameters of a model, each counted once."""

    matrices: tuple[Matrix, ...]
    """Linear layers outside embedding and head; a fused expert tensor counts as its matrices."""
    embedding: int
    """The input embedding."""
    head: int
    """The output layer; 0 if it is tied to the input embedding."""
    other: int
    """Norms, biases, convolutions, routers of unknown types: never quantised, without adapters."""
    expert_mapping: str = ""
    """The mapping by which PEFT adapts the tensors of all experts; empty where it leaves them out."""
    refused_targets: tuple[str, ...] = ()
    """Names of linear layers on which PEFT refuses a low-rank adapter."""
    has_parts_beside: bool = False
    """Whether a run loads a tower as well, and therefore names the linear layers that get an adapter in full."""
    other_of_tower: int = 0
    """Of `other`, what is in vision and audio towers."""

    @cached_property
    def linear(self) -> int:
        """Elements of matrices that bitsandbytes quantises: all but the experts and their routers."""
        return sum(matrix.elements for matrix in self.matrices if matrix.place in _QUANTISED)

    @cached_property
    def linear_rows(self) -> int:
        """Rows (outputs) of those matrices."""
        return sum(matrix.outputs * matrix.count for matrix in self.matrices if matrix.place in _QUANTISED)

    @cached_property
    def experts(self) -> int:
        """Parameters in experts; transformers 5 has them in 3-D tensors, which bitsandbytes does not quantise."""
        return sum(matrix.elements for matrix in self.matrices if matrix.place == "expert")

    @cached_property
    def unquantised(self) -> int:
        """Parameters that no precision but the base's own has, experts apart."""
        routers = sum(matrix.elements for matrix in self.matrices if matrix.place == "router")
        return self.embedding + self.head + self.other + routers

    @cached_property
    def tower(self) -> int:
        """Parameters of vision and audio towers."""
        matrices = sum(matrix.elements for matrix in self.matrices if matrix.place == "tower")
        return matrices + self.other_of_tower

    @cached_property
    def total(self) -> int:
        """All parameters, each counted once."""
        return sum(matrix.elements for matrix in self.matrices) + self.embedding + self.head + self.other


def count_tensors(
    shapes: Mapping[str, tuple[int, ...]], known: Architecture | None = None
) -> WeightCount | None:
    """Classify tensors by their names and shapes, (outputs, inputs) for matrices; None when there are none.

    `known` is what the libraries know of the model's type; without it, kinds are told by the usual names alone.
    """
    if not shapes:
        return None
    counts: Counter[tuple[str, int, int, Place]] = Counter()
    embedding = head = other = other_of_tower = 0
    for full_name, shape in shapes.items():
        elements = math.prod(shape)
        name = full_name.removesuffix(".weight")
        last = name.rpartition(".")[2]
        match _kind(name, shape, known, is_module=name != full_name):
            case "embedding":
                embedding += elements
            case "head":
                head += elements
            case "other":
                other += elements
                other_of_tower += elements if is_in_tower(name, known) else 0
            case "expert" if len(shape) == 3:
                counts[last, shape[2], shape[1], "expert"] += shape[0]
            case place:
                is_turned = known is not None and last in known.transposed
                outputs, inputs = reversed(shape) if is_turned else shape
                names = (
                    known.divided.get(last, (last,)) if known is not None and place != "tower" else (last,)
                )
                for part in names:
                    counts[part, inputs, outputs // len(names), place] += 1
    _join(counts, known)
    matrices = tuple(Matrix(name, d_in, d_out, n, place) for (name, d_in, d_out, place), n in counts.items())
    return WeightCount(matrices, embedding, head, other, other_of_tower=other_of_tower)


def _join(counts: Counter[tuple[str, int, int, Place]], known: Architecture | None) -> None:
    """Put linear layers of one matrix in the place of those of the files that they are made from; changes `counts`."""
    for joined, (first, *others) in known.joined.items() if known is not None else ():
        for key in [key for key in counts if key[0] == first and key[3] == "layer"]:
            parts = [key, *((other, *key[1:]) for other in others)]
            if len({counts.get(part) for part in parts}) == 1:  # parts of one size, such as gate and up
                counts[joined, key[1], len(parts) * key[2], "layer"] += counts[key]
                for part in parts:
                    del counts[part]


def _kind(
    name: str, shape: tuple[int, ...], known: Architecture | None, *, is_module: bool
) -> Place | Literal["embedding", "head", "other"]:
    """What a tensor is; `name` is its module's, or its own if it is no module's `weight`."""
    last = name.rpartition(".")[2]
    is_tower, is_numbered = is_in_tower(name, known), _NUMBER.search(name) is not None
    if len(shape) == 3 and (_EXPERT.search(name) or ".experts" in name):
        return "expert"
    if len(shape) != 2:
        return "other"
    if not is_numbered and not is_tower:
        if last in _TABLES or (known is not None and last == known.embedding):
            return "embedding"
        if last in _HEADS or (known is not None and last == known.head):
            return "head"
    if is_tower:
        return "tower"
    if known is not None and known.is_known:
        if last in known.linear:
            return "expert" if _EXPERT.search(name) and not _ROUTER.search(name) else "layer"
        if last in known.plain or not is_module:  # a matrix of its own, not of a linear layer
            return "router" if last in known.plain and _ROUTER.search(name) else "other"
    if _ROUTER.search(name) or not is_numbered:
        return "other"
    return "expert" if _EXPERT.search(name) else "layer"


def count_layers(names: Iterable[str], known: Architecture | None = None) -> int | None:
    """Layers of the language model, by the highest number in the tensors' names; None if there are none."""
    numbers = [
        int(match[1]) for name in names if not is_in_tower(name, known) and (match := _LAYER.search(name))
    ]
    return max(numbers) + 1 if numbers else None


def total_elements(shapes: Iterable[tuple[int, ...]]) -> int:
    """Elements of tensors with these shapes."""
    return sum(math.prod(shape) for shape in shapes)

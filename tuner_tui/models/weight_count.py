"""Counts a model's weights by kind: matrices that are quantised, experts, embeddings and the rest."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Place = Literal["layer", "expert", "tower"]

_TOWER = re.compile(
    r"(?:^|\.)(?:vision_tower|vision_model|visual|vision_embed|image_encoder|multi_modal_projector|mm_projector"
    r"|audio_tower|audio_model|embed_vision|embed_audio|connector|aligner)(?:\.|$)"
)
_TABLES = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "embedding", "token_embd")
_HEADS = ("lm_head", "embed_out", "output")
_ROUTER = re.compile(r"(?:^|\.)(?:gate|router|gate_inp|ffn_gate_inp|shared_expert_gate)$")
_EXPERT = re.compile(r"\.experts\.|_exps$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blk|blocks)\.(\d{1,6})\.")
_NUMBER = re.compile(r"\d+")


def is_in_tower(name: str) -> bool:
    """Whether a module or tensor is of a vision or audio tower, which text never reaches, by its name."""
    return _TOWER.search(name) is not None


@dataclass(frozen=True)
class Matrix:
    """Linear layers with the same name and size."""

    name: str
    """The last part of the module's name, such as q_proj."""
    inputs: int
    outputs: int
    count: int
    place: Place = "layer"
    """In the language model's layers, one expert of many, or in a vision or audio tower."""

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
    """Norms, biases, routers, convolutions: never quantised, without adapters."""

    @cached_property
    def linear(self) -> int:
        """Elements of matrices that bitsandbytes quantises: all but the experts."""
        return sum(matrix.elements for matrix in self.matrices if matrix.place != "expert")

    @cached_property
    def linear_rows(self) -> int:
        """Rows (outputs) of those matrices."""
        return sum(matrix.outputs * matrix.count for matrix in self.matrices if matrix.place != "expert")

    @cached_property
    def experts(self) -> int:
        """Parameters in experts; transformers 5 has them in 3-D tensors, which bitsandbytes does not quantise."""
        return sum(matrix.elements for matrix in self.matrices if matrix.place == "expert")

    @cached_property
    def tower(self) -> int:
        """Elements of matrices of vision and audio towers."""
        return sum(matrix.elements for matrix in self.matrices if matrix.place == "tower")

    @cached_property
    def total(self) -> int:
        """All parameters, each counted once."""
        return sum(matrix.elements for matrix in self.matrices) + self.embedding + self.head + self.other


def count_tensors(shapes: Mapping[str, tuple[int, ...]]) -> WeightCount | None:
    """Classify tensors by their names and shapes, (outputs, inputs) for matrices; None when there are none."""
    if not shapes:
        return None
    counts: Counter[tuple[str, int, int, Place]] = Counter()
    embedding = head = other = 0
    for full_name, shape in shapes.items():
        elements = math.prod(shape)
        name = full_name.removesuffix(".weight")
        last = name.rpartition(".")[2]
        is_tower = is_in_tower(name)
        if len(shape) == 2 and last in _TABLES and not is_tower and not _NUMBER.search(name):
            embedding += elements
        elif len(shape) == 2 and last in _HEADS and not _NUMBER.search(name):
            head += elements
        elif len(shape) == 3 and (_EXPERT.search(name) or ".experts" in name):
            counts[last, shape[2], shape[1], "expert"] += shape[0]
        elif len(shape) != 2 or _ROUTER.search(name) or not (is_tower or _NUMBER.search(name)):
            other += elements
        else:
            place: Place = "tower" if is_tower else "expert" if _EXPERT.search(name) else "layer"
            counts[last, shape[1], shape[0], place] += 1
    matrices = tuple(Matrix(name, d_in, d_out, n, place) for (name, d_in, d_out, place), n in counts.items())
    return WeightCount(matrices, embedding, head, other)


def count_layers(names: Iterable[str]) -> int | None:
    """Layers of the language model, by the highest number in the tensors' names; None if there are none."""
    numbers = [int(match[1]) for name in names if not _TOWER.search(name) and (match := _LAYER.search(name))]
    return max(numbers) + 1 if numbers else None


def total_elements(shapes: Iterable[tuple[int, ...]]) -> int:
    """Elements of tensors with these shapes."""
    return sum(math.prod(shape) for shape in shapes)

"""The architectures that can be written as GGUF: tensor names, and the row order that llama.cpp expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gguf

from tuner_tui.errors import InputError
from tuner_tui.worker.model.gguf_loading import llama3_factors

if TYPE_CHECKING:
    from torch import Tensor

LLAMA_NEXT = (
    "Export it with --as adapter or --as merged; llama.cpp's conversion scripts support more architectures."
)


@dataclass(frozen=True)
class Shape:
    """An architecture as llama.cpp defines it."""

    arch: gguf.MODEL_ARCH
    has_rotated_rows: bool = False
    """llama.cpp rotates neighbouring pairs of a head's rows where transformers rotates its two halves."""

    @property
    def name(self) -> str:
        return str(gguf.MODEL_ARCH_NAMES[self.arch])


SHAPES = {
    "llama": Shape(gguf.MODEL_ARCH.LLAMA, has_rotated_rows=True),
    "mistral": Shape(gguf.MODEL_ARCH.LLAMA, has_rotated_rows=True),
    "qwen2": Shape(gguf.MODEL_ARCH.QWEN2),
    "qwen3": Shape(gguf.MODEL_ARCH.QWEN3),
}


def find_shape(config: Any) -> Shape:
    """The architecture of a model. Raises InputError for architectures and rotary scalings that are not supported."""
    shape = SHAPES.get(config.model_type)
    if shape is None:
        raise InputError(
            "This architecture cannot be exported as GGUF",
            f"{config.model_type} is not one of {', '.join(SHAPES)}.",
            LLAMA_NEXT,
        )
    kind = rope_kind(config)
    if kind not in ("default", "linear", "llama3"):
        raise InputError(
            "This model's rotary scaling cannot be exported as GGUF",
            f"Its rotary scaling is {kind!r}; default, linear and llama3 are supported.",
            LLAMA_NEXT,
        )
    if getattr(config, "mlp_bias", False):
        raise InputError(
            "This architecture cannot be exported as GGUF", "Its feed-forward layers have biases.", LLAMA_NEXT
        )
    return shape


def rope_kind(config: Any) -> str:
    """The kind of a model's rotary scaling."""
    return str((config.rope_parameters or {}).get("rope_type", "default"))


def head_dim(config: Any) -> int:
    """Width of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


class TensorNames:
    """Names of tensors in GGUF, from the library's own map."""

    def __init__(self, config: Any, shape: Shape) -> None:
        self._config, self._shape = config, shape
        self._map = gguf.get_tensor_name_map(shape.arch, config.num_hidden_layers)

    def find(self, name: str) -> str:
        """The GGUF name of a tensor. Raises InputError when llama.cpp has none."""
        gguf_name = self._map.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise InputError("A weight has no name in GGUF", f"{name} ({self._shape.name}).", LLAMA_NEXT)
        return str(gguf_name)

    def heads_of(self, name: str) -> int | None:
        """Heads whose rows must be reordered; None for tensors whose order does not change."""
        if not self._shape.has_rotated_rows:
            return None
        if ".q_proj." in f"{name}.":
            return int(self._config.num_attention_heads)
        if ".k_proj." in f"{name}.":
            return int(self._config.num_key_value_heads)
        return None


def interleave_rows(rows: Tensor, heads: int | None) -> Tensor:
    """Rows (or a bias) of a rotated projection in llama.cpp's order; unchanged when `heads` is None.

    Within each head the two halves are interleaved, so that row pairs (i, i + half) become neighbours.
    """
    if heads is None:
        return rows
    half = rows.shape[0] // heads // 2
    parts = rows.reshape(heads, 2, half, *rows.shape[1:])
    return parts.transpose(1, 2).reshape(rows.shape)


def separate_rows(rows: Tensor, heads: int | None) -> Tensor:
    """The inverse of `interleave_rows`."""
    if heads is None:
        return rows
    half = rows.shape[0] // heads // 2
    parts = rows.reshape(heads, half, 2, *rows.shape[1:])
    return parts.transpose(1, 2).reshape(rows.shape)


def rope_factors(config: Any) -> Tensor | None:
    """Divisors of the rotary frequencies that llama.cpp reads from the file (llama3 scaling); None for others.

    Taken from transformers' own frequencies, (head width / 2).
    """
    if rope_kind(config) != "llama3":
        return None
    return llama3_factors(config)

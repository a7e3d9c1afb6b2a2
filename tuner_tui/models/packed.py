"""Quantised repositories: the unpacked shapes of their tensors, from config and headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner_tui.models.quantisation import BITS, MLX, bits_of

if TYPE_CHECKING:
    from tuner_tui.models.safetensors_header import SafetensorsTensor

_HELPERS = frozenset(
    (
        "qzeros", "scales", "g_idx", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "weight_scale",
        "weight_scale_inv", "weight_scale_2", "input_scale", "input_global_scale", "SCB", "weight_format",
        "weight_zero_point", "weight_global_scale", "weight_shape", "weight_g_idx", "activation_scale", "k_scale",
        "v_scale", "q_scale", "pre_quant_scale",
    )
)  # fmt: skip
_WIDTHS = {
    "q_proj": ("q", "h"), "k_proj": ("kv", "h"), "v_proj": ("kv", "h"), "o_proj": ("h", "q"),
    "gate_proj": ("m", "h"), "up_proj": ("m", "h"), "down_proj": ("h", "m"),
}  # fmt: skip
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_WORDS = {"I32": 32, "U32": 32, "U8": 8, "I8": 8, "I16": 16}
"""Bits of a packed word."""
DEFAULT_BITS = 4
Shape = tuple[int, ...]


def unpacked_shapes(
    tensors: Mapping[str, SafetensorsTensor], settings: Mapping[str, Any], widths: Mapping[str, int | None]
) -> dict[str, Shape] | None:
    """Shapes as in the unquantised model, (outputs, inputs); None for an unknown packing.

    `settings` are the quantisation's own, with its `quant_method`; `widths` the sizes named h, q, kv and m, which a
    4-bit bitsandbytes tensor (a column of bytes) needs to be recognised.
    """
    bits = bits_of(settings) or DEFAULT_BITS
    if bits not in BITS:
        return None
    shapes: dict[str, Shape] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if _is_helper(name, stem, last, tensors):
            continue
        if tensor.dtype in _FLOATS and not last.startswith(("qweight", "weight_packed")):
            shapes[name] = tensor.shape
            continue
        shape = _unpacked(name, stem, last, tensor, tensors, settings, bits, widths)
        if shape is None:
            return None
        target = f"{stem}.weight" if last in ("qweight", "weight_packed") else name
        shapes[target.removesuffix("_blocks")] = shape
    return shapes


def _is_helper(name: str, stem: str, last: str, tensors: Mapping[str, SafetensorsTensor]) -> bool:
    """Whether a tensor only holds scales, zero points and the like."""
    is_mlx_bias = last == "biases" and f"{stem}.scales" in tensors
    return last in _HELPERS or ".quant_state." in name or name.endswith("_scales") or is_mlx_bias


def _unpacked(
    name: str, stem: str, last: str, tensor: SafetensorsTensor, tensors: Mapping[str, SafetensorsTensor],
    settings: Mapping[str, Any], bits: int, widths: Mapping[str, int | None],
) -> Shape | None:  # fmt: skip
    """The shape that a tensor of integers stands for; None if its packing is unknown."""
    shape, dtype, method = tensor.shape, tensor.dtype, settings.get("quant_method")
    if len(shape) < 2 or (dtype == "I64" and last not in ("weight", "qweight")):
        return shape  # counters and tables of indices
    if method == MLX or (f"{stem}.scales" in tensors and dtype == "U32"):
        return _of_mlx(stem, shape, tensors, settings)
    if last == "qweight" and len(shape) == 2 and dtype == "I32":
        rows, columns = shape
        is_awq = method == "awq" or "awq" in str(settings.get("packing_format", ""))
        return (columns * 32 // bits, rows) if is_awq else (columns, rows * 32 // bits)
    if last == "weight_packed" and dtype in _WORDS:  # compressed-tensors; bytes hold two FP4 values
        return (*shape[:-1], shape[-1] * _WORDS[dtype] // (bits if dtype == "I32" else 4))
    if name.endswith("_blocks") and len(shape) == 4:  # MXFP4: 16 bytes for 32 values
        return (*shape[:-2], shape[-2] * shape[-1] * 2)
    if dtype == "U8" and f"{stem}.weight_scale_2" in tensors:  # modelopt's NVFP4: two values in a byte
        return (*shape[:-1], shape[-1] * 2)
    if dtype == "I8" and (f"{stem}.SCB" in tensors or f"{stem}.weight_scale" in tensors):
        return shape
    if dtype == "U8" and len(shape) == 2 and 1 in shape and last == "weight":
        known = _by_name(stem.rpartition(".")[2], widths)
        return known if known is not None and math.prod(known) == 2 * tensor.elements else None
    return None


def _of_mlx(
    stem: str, shape: Shape, tensors: Mapping[str, SafetensorsTensor], stated: Mapping[str, Any]
) -> Shape | None:
    """MLX packs each row in 32-bit words and stores a scale for each group of its values."""
    scales = tensors.get(f"{stem}.scales")
    own = stated.get(stem)
    settings = own if isinstance(own, Mapping) else stated
    group, bits = settings.get("group_size"), settings.get("bits")
    if scales is not None and isinstance(group, int) and group > 0:
        return (*shape[:-1], scales.shape[-1] * group)
    return (*shape[:-1], shape[-1] * 32 // bits) if isinstance(bits, int) and bits > 0 else None


def _by_name(name: str, widths: Mapping[str, int | None]) -> tuple[int, int] | None:
    outputs, inputs = (widths.get(word) for word in _WIDTHS.get(name, ("", "")))
    return (outputs, inputs) if outputs and inputs else None

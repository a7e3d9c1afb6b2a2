"""Quantised repositories: the unpacked shapes of their tensors, from config and headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tuner_tui.models.safetensors_header import SafetensorsTensor

_HELPERS = (
    "qzeros", "scales", "g_idx", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "weight_scale",
    "weight_scale_inv", "input_scale", "SCB", "weight_format", "weight_zero_point", "weight_global_scale",
    "activation_scale",
)  # fmt: skip
_WIDTHS = {
    "q_proj": ("q", "h"), "k_proj": ("kv", "h"), "v_proj": ("kv", "h"), "o_proj": ("h", "q"),
    "gate_proj": ("m", "h"), "up_proj": ("m", "h"), "down_proj": ("h", "m"),
}  # fmt: skip


def unpacked_shapes(
    tensors: Mapping[str, SafetensorsTensor], settings: Mapping[str, Any], widths: Mapping[str, int | None]
) -> dict[str, tuple[int, ...]] | None:
    """Shapes as in the unquantised model, (outputs, inputs); None for an unknown packing.

    `settings` is config.json's quantization_config, `widths` the sizes named h, q, kv and m, which a 4-bit
    bitsandbytes tensor (a column of bytes) needs to be recognised.
    """
    bits = settings.get("bits") or settings.get("w_bit") or 4
    if not isinstance(bits, int) or bits not in (2, 3, 4, 8):
        return None
    method = str(settings.get("quant_method") or "")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if last in _HELPERS or ".quant_state." in name or name.endswith("_scales"):
            continue
        shape = tensor.shape
        if last == "qweight" and len(shape) == 2:
            rows, columns = shape
            shapes[f"{stem}.weight"] = (
                (columns * 32 // bits, rows) if method == "awq" else (columns, rows * 32 // bits)
            )
        elif last == "weight_packed" and len(shape) == 2:  # compressed-tensors
            shapes[f"{stem}.weight"] = (shape[0], shape[1] * 32 // bits)
        elif name.endswith("_blocks") and len(shape) == 4:  # MXFP4: 16 bytes for 32 values
            experts, outputs, groups, size = shape
            shapes[name.removesuffix("_blocks")] = (experts, outputs, groups * size * 2)
        elif tensor.dtype == "U8" and len(shape) == 2 and shape[1] == 1 and last == "weight":
            known = _by_name(stem.rpartition(".")[2], widths)
            if known is None or math.prod(known) != 2 * tensor.elements:
                return None
            shapes[name] = known
        elif tensor.dtype == "I32":
            return None
        else:
            shapes[name] = shape
    return shapes


def _by_name(name: str, widths: Mapping[str, int | None]) -> tuple[int, int] | None:
    outputs, inputs = (widths.get(word) for word in _WIDTHS.get(name, ("", "")))
    return (outputs, inputs) if outputs and inputs else None

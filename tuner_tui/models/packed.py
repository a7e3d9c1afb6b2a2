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
        "v_scale", "q_scale", "pre_quant_scale", "activation_scale_ub", "output_scale", "_weight_scale",
        "_weight_zero_point", "_weight_scale_and_zero", "_weight_per_tensor_scale", "_weight_act_pre_scale",
    )
)  # fmt: skip
_SCALE_ENDINGS = ("_scale", "_scale_inv", "_scale_ub")
"""Of scales beside the tensor or the module that they are for."""
_WIDTHS = {
    "q_proj": ("q", "h"), "k_proj": ("kv", "h"), "v_proj": ("kv", "h"), "o_proj": ("h", "q"),
    "gate_proj": ("m", "h"), "up_proj": ("m", "h"), "down_proj": ("h", "m"),
}  # fmt: skip
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_WORDS = {"I32": 32, "U32": 32, "U8": 8, "I8": 8, "I16": 16}
"""Bits of a packed word."""
_WEIGHTS = ("qweight", "weight_packed", "codes", "_weight_qdata")
"""How packed tensors are called that stand for a module's `weight`."""
DEFAULT_BITS = 4
BITNET_VALUES = 4
"""Ternary values in a byte of BitNet."""
LONGEST_TABLE = 16
"""Elements of a vector of integers that is no packed weight, such as a stored shape."""
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
    stated = _stated_layers(settings)
    shapes: dict[str, Shape] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        owner = stem if stem in stated else stem.rpartition(".")[0]
        if owner in stated and last != "bias":
            shapes[f"{owner}.weight"] = stated[owner]
            continue
        if _is_helper(name, stem, last, tensors):
            continue
        if tensor.dtype in _FLOATS and last not in _WEIGHTS:
            shapes[name] = tensor.shape
            continue
        shape = _unpacked(name, stem, last, tensor, tensors, settings, bits, widths)
        if shape is None:
            return None
        target = f"{stem}.weight" if last in _WEIGHTS else name
        shapes[target.removesuffix("_blocks")] = shape
    return shapes


def _is_helper(name: str, stem: str, last: str, tensors: Mapping[str, SafetensorsTensor]) -> bool:
    """Whether a tensor only holds scales, zero points, code books and the like."""
    is_beside_scales = last in ("biases", "qbiases", "tables", "tables2") and f"{stem}.scales" in tensors
    is_code_book = last == "codebooks" and f"{stem}.codes" in tensors
    if last in _HELPERS or ".quant_state." in name or is_beside_scales or is_code_book:
        return True
    if name.endswith("_scales"):
        return True
    beside = next((name.removesuffix(end) for end in _SCALE_ENDINGS if name.endswith(end)), "")
    return beside in tensors or (last.startswith("input_scale") and f"{stem}.weight" in tensors)


def _stated_layers(settings: Mapping[str, Any]) -> dict[str, Shape]:
    """The shapes of layers whose widths the settings state, as VPTQ's do."""
    layers = settings.get("config_for_layers")
    found: dict[str, Shape] = {}
    for name, layer in layers.items() if isinstance(layers, Mapping) else ():
        sides = [
            layer.get(key) if isinstance(layer, Mapping) else None for key in ("out_features", "in_features")
        ]
        outputs, inputs = (side if isinstance(side, int) and side > 0 else None for side in sides)
        if outputs and inputs:
            found[str(name)] = (outputs, inputs)
    return found


def _unpacked(
    name: str, stem: str, last: str, tensor: SafetensorsTensor, tensors: Mapping[str, SafetensorsTensor],
    settings: Mapping[str, Any], bits: int, widths: Mapping[str, int | None],
) -> Shape | None:  # fmt: skip
    """The shape that a tensor of integers stands for; None if its packing is unknown."""
    shape, dtype, method = tensor.shape, tensor.dtype, settings.get("quant_method")
    if len(shape) < 2:  # counters; a long one is packed, and its rows are not known
        return shape if tensor.elements <= LONGEST_TABLE else None
    if dtype == "I64" and last not in ("weight", "qweight"):
        return shape  # tables of indices
    if last == "codes":
        return _of_codes(shape, tensors.get(f"{stem}.codebooks"))
    if last == "_weight_qdata":  # torchao; its narrower types have several packings
        return shape if dtype == "I8" or dtype in _FLOATS else None
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
    if dtype == "U8" and method == "bitnet":
        return (shape[0] * BITNET_VALUES, *shape[1:])
    if dtype == "I16" and method == "higgs" and last == "weight":
        return (shape[0] * _WORDS[dtype] // bits, *shape[1:])
    if dtype == "I8" and f"{stem}.weight_scales" in tensors:  # EETQ
        return shape[::-1]
    if dtype == "I8" and (f"{stem}.SCB" in tensors or f"{stem}.weight_scale" in tensors):
        return shape
    if dtype == "U8" and len(shape) == 2 and 1 in shape and last == "weight":
        known = _by_name(stem.rpartition(".")[2], widths)
        return known if known is not None and math.prod(known) == 2 * tensor.elements else None
    return None


def _of_codes(codes: Shape, books: SafetensorsTensor | None) -> Shape | None:
    """AQLM stores the numbers of vectors in code books of (books, vectors, outputs, inputs)."""
    if books is None or len(codes) != 3 or len(books.shape) != 4:
        return None
    return (codes[0] * books.shape[2], codes[1] * books.shape[3])


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

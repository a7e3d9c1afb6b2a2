"""Bytes that one decoder layer keeps for its backward pass, for each token, op by op.

This follows the code of transformers' decoder layers: which tensors an operation saves is given by autograd's rules
(a product saves both factors if both need a gradient, a linear layer its input only where its weight is trained, a
norm in fp32 its fp32 copy). tests/worker/test_memory_truth.py compares it with the real code on fake tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.tunings import memory_of
from tuner_tui.planning.widths import elementwise_bytes, input_widths, mlp_bytes, mlp_width
from tuner_tui.planning.workload import Workload


@dataclass(frozen=True)
class LayerBytes:
    """For one token in one layer."""

    saved: int
    """Kept from forward to backward."""
    boundary: int
    """Kept with checkpointing: the layer's input."""
    transient: int
    """On top of `saved` while the layer is computed again or differentiated."""
    forward: int
    """Temporary memory of the layer in a forward pass without gradients."""
    wide: int = 0
    """Of `saved`, what is in tensors of the MLP's width."""


def layer_bytes(shape: ModelShape, load: Workload) -> LayerBytes:
    """What a layer keeps and needs, by the workload's types. See the module's docstring for the rules."""
    c = load.compute_bytes
    width = mlp_width(shape)
    saved = _norms(shape, load) + _attention(shape, load) + mlp_bytes(shape, load) + _inputs(shape, load)
    forward = 2 * load.stream_bytes * shape.hidden + 4 * shape.hidden + 3 * c * width
    wide = mlp_bytes(shape, load) + (
        c * width if memory_of(load.tuning).keeps_mlp_product(shape, load) else 0
    )
    boundary = load.stream_bytes * shape.hidden
    return LayerBytes(saved, boundary, _transient(shape, load), forward, min(wide, saved))


def _transient(shape: ModelShape, load: Workload) -> int:
    """The MLP's backward pass needs three tensors of its width at once, of which one may be saved anyway."""
    h, width, size = shape.hidden, mlp_width(shape), elementwise_bytes(load)
    if shape.experts and not load.stack.fused_experts:
        # expert by expert, each with its tokens; gradients of the layer's output, of its input so far, of this
        # expert's share of it, and their sum
        share = shape.experts_per_token * shape.expert_intermediate / shape.experts
        return round(3 * size * (share + shape.shared_intermediate)) + 4 * size * h
    down_is_kept = memory_of(load.tuning).keeps_mlp_product(shape, load)
    casts = memory_of(load.tuning).casts_mlp_product(load)
    transient = (2 if down_is_kept and not casts else 3) * size * width
    transient += (9 if down_is_kept and casts else 2) * h
    if shape.experts:
        transient += 2 * size * shape.experts_per_token * h
    return transient


def _norms(shape: ModelShape, load: Workload) -> int:
    h, family, trained = shape.hidden, shape.family, load.trains_base
    c, s = load.compute_bytes, load.stream_bytes
    if load.stack.fused_norms:
        saved = family.norms * s * h
    elif family.norm == "gemma":  # x in fp32; trained: the normalised one too, in fp32
        saved = family.norms * (4 + 4 * trained) * h
    else:
        saved = family.norms * (4 + s * trained) * h
    if family.qk_norm:
        width = shape.q + shape.kv
        per = 8 if family.norm == "gemma" and trained else 4 + c * trained
        saved += (c if load.stack.fused_norms else per) * width + 4 * (shape.heads + shape.kv_heads)
    return saved + 4 * family.norms


def _attention(shape: ModelShape, load: Workload) -> int:
    c = load.compute_bytes
    if load.attention == "eager" or shape.family.softcap or not shape.has_fused_attention:
        scores = (4 + 2 * c) * shape.heads * load.attended_length
        return 2 * c * shape.q + 2 * c * shape.q + scores
    keys = shape.q if load.padded or load.stack.repeats_keys else shape.kv
    mask = c * load.attended_length if load.padded else 0
    return 2 * c * shape.q + 2 * c * keys + 4 * shape.heads + mask


def _inputs(shape: ModelShape, load: Workload) -> int:
    """Inputs of linear layers saved for the gradients of weights or adapters."""
    quantised = 0
    if not load.trains_base and (load.loaded_as == "int8" or load.stack.keeps_4bit_inputs):
        quantised = load.compute_bytes * (2 * shape.hidden + input_widths(shape)["mlp output"])
    return quantised + memory_of(load.tuning).saved_bytes(shape, load)

"""The widths inside a decoder layer, by the matrices that read them, and what its MLP keeps."""

from __future__ import annotations

from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.workload import Workload

INPUTS = {  # which of a layer's four inputs a matrix reads
    **dict.fromkeys(
        (
            "q_proj",
            "k_proj",
            "v_proj",
            "qkv_proj",
            "query_key_value",
            "c_attn",
            "Wqkv",
            "query",
            "key",
            "value",
        ),
        "attention",
    ),
    **dict.fromkeys(("o_proj", "out_proj", "projection", "dense"), "attention output"),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "fc1", "dense_h_to_4h"), "mlp"),
    **dict.fromkeys(("down_proj", "w2", "fc2", "dense_4h_to_h"), "mlp output"),
}
"""By the last part of a matrix's name."""


def mlp_width(shape: ModelShape) -> int:
    """Width of the MLP per token; for a mixture of experts, all chosen experts together."""
    if not shape.experts:
        return shape.intermediate
    return shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate


def input_widths(shape: ModelShape) -> dict[str, int]:
    return {
        "attention": shape.hidden,
        "attention output": shape.q,
        "mlp": shape.hidden,
        "mlp output": mlp_width(shape),
    }


def elementwise_bytes(load: Workload) -> int:
    """Bytes of an element between the MLP's matrices: 4-bit layers output the dtype of their input."""
    return 4 if load.stack.fp32_stream and load.loaded_as == "nf4" else load.compute_bytes


def mlp_bytes(shape: ModelShape, load: Workload) -> int:
    """The gate's input and output and the other factor; the product is counted as the input of `down`."""
    c, width = elementwise_bytes(load), mlp_width(shape)
    if shape.family.mlp_matrices == 2:
        return c * width
    saved = 3 * c * width
    if shape.experts and not load.stack.fused_experts:  # each expert's output before weighting
        saved += (c * shape.hidden + 24) * shape.experts_per_token
    elif shape.experts:
        chosen = shape.experts_per_token
        # tokens gathered for their experts, their order, the experts' outputs, weighted and scattered back
        saved += (2 * c * shape.hidden + 24) * chosen + 4 * shape.experts * 2
    return saved

"""Bytes that one decoder layer keeps for its backward pass, for each token, op by op.

The model is the code of transformers' decoder layers: which tensor each operation saves follows from autograd's rules
(a product saves both factors where both need a gradient, a linear layer its input only where its weight is trained, a
norm in fp32 its fp32 copy). tests/worker/test_memory_truth.py compares it with the real code on tensors without data.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.workload import Workload

ATTENTION_TARGETS = frozenset(
    ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "out_proj")
)
_INPUTS = {  # which of a layer's four inputs a matrix reads
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
    """Alive at once while a forward pass without gradients is in the layer."""
    wide: int = 0
    """Of `saved`, what is in tensors of the MLP's width."""


def is_target(name: str, place: str, load: Workload) -> bool:
    """Whether a matrix gets an adapter; PEFT gives one to experts in 3-D tensors too."""
    if load.tuning != "lora":
        return False
    if load.targets == "all-linear":
        return True
    if load.targets == "attention":
        return name in ATTENTION_TARGETS
    return name in {target.rpartition(".")[2] for target in load.targets}


def layer_bytes(shape: ModelShape, load: Workload) -> LayerBytes:
    """What a layer keeps and needs, by the workload's types. See the module's text for the rules."""
    c = load.compute_bytes
    width = _mlp_width(shape)
    saved = _norms(shape, load) + _attention(shape, load) + _mlp(shape, load) + _inputs(shape, load)
    forward = 2 * load.stream_bytes * shape.hidden + 4 * shape.hidden + 3 * c * width
    wide = _mlp(shape, load) + (c * width if _keeps_input(shape, load, "mlp output") else 0)
    boundary = load.stream_bytes * shape.hidden
    return LayerBytes(saved, boundary, _transient(shape, load), forward, min(wide, saved))


def _transient(shape: ModelShape, load: Workload) -> int:
    """The MLP's backward pass holds three tensors of its width at once, of which one may be kept anyway."""
    h, width, size = shape.hidden, _mlp_width(shape), _elementwise_bytes(load)
    if shape.experts and not load.stack.fused_experts:
        # expert by expert, each with its tokens; gradients of the layer's output, of its input so far, of this
        # expert's share of it, and their sum
        share = shape.experts_per_token * shape.expert_intermediate / shape.experts
        return round(3 * size * (share + shape.shared_intermediate)) + 4 * size * h
    down_is_kept = _keeps_input(shape, load, "mlp output")
    casts = load.tuning == "lora" and load.autocast and load.adapter_bytes == 4
    transient = (2 if down_is_kept and not casts else 3) * size * width
    transient += (9 if down_is_kept and casts else 2) * h
    if shape.experts:
        transient += 2 * size * shape.experts_per_token * h
    return transient


def _elementwise_bytes(load: Workload) -> int:
    """Bytes of numbers between the MLP's matrices: 4-bit layers answer in the type of their input."""
    return 4 if load.stack.fp32_stream and load.held == "nf4" else load.compute_bytes


def expert_copies(shape: ModelShape, load: Workload) -> int:
    """Bytes of a layer's experts with their adapters added, which PEFT computes whole, and keeps for the backward pass.

    An adapter beside a 3-D tensor of experts is no second path for the tokens: weight + B A is made for all experts.
    """
    if not load.stack.fused_experts or not shape.experts:
        return 0
    changed = sum(
        each.elements
        for each in shape.weights.matrices
        if each.place == "expert" and is_target(each.name, each.place, load)
    )
    return load.compute_bytes * changed // shape.layers


def dora_bytes(shape: ModelShape, load: Workload) -> int:
    """Bytes that DoRA's largest matrix needs while its norm and its result are made (peft.tuners.lora.dora).

    PEFT multiplies an identity matrix of the input's width through the adapter to get B A, adds it to the weight in the
    type of its input, which is cast to the adapter's, and mixes the result in fp32.
    """
    if not load.dora:
        return 0
    c, a = load.compute_bytes, load.adapter_bytes
    is_cast = load.autocast and c != a
    x = a if is_cast else c
    most = 0
    for each in shape.weights.matrices:
        if each.place == "expert" or not is_target(each.name, each.place, load):
            continue
        weight, square = each.inputs * each.outputs, each.inputs * each.inputs
        kept_square = c * square  # for the adapter's gradient
        whole = 2 * weight if load.held in ("int8", "nf4", "stored") else 0
        product = kept_square + (a * square if is_cast else 0) + c * weight
        norm = kept_square + whole + (c + 4 * x if is_cast else 3 * x) * weight
        result = kept_square + whole + (2 * x if is_cast else x) * weight
        if _INPUTS.get(each.name) == "mlp output":  # the last of a layer, when all else is kept already
            tokens = load.tokens * (x * each.inputs if is_cast else 0)
            result += load.tokens * (6 if is_cast else 2) * 4 * each.outputs
        else:
            tokens = -load.tokens * _mlp(shape, load)
        most = max(most, tokens + max(product, norm, result))
    return most


def _mlp_width(shape: ModelShape) -> int:
    """Numbers per token inside the MLP; of a mixture all chosen experts together."""
    if not shape.experts:
        return shape.intermediate
    return shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate


def _norms(shape: ModelShape, load: Workload) -> int:
    h, family, trained = shape.hidden, shape.family, load.tuning == "full"
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
    if load.attention == "eager" or shape.family.softcap:
        scores = (4 + 2 * c) * shape.heads * load.sequence_length
        return 2 * c * shape.q + 2 * c * shape.q + scores
    keys = shape.q if load.padded or load.stack.repeats_keys else shape.kv
    mask = c * load.sequence_length if load.padded else 0
    return 2 * c * shape.q + 2 * c * keys + 4 * shape.heads + mask


def _mlp(shape: ModelShape, load: Workload) -> int:
    """The gate's input and output and the other factor; the product counts as the input of `down`."""
    c, width = _elementwise_bytes(load), _mlp_width(shape)
    if shape.family.mlp_matrices == 2:
        return c * width
    saved = 3 * c * width
    if shape.experts and not load.stack.fused_experts:  # what each expert gives, before it is weighted
        saved += (c * shape.hidden + 24) * shape.experts_per_token
    elif shape.experts:
        chosen = shape.experts_per_token
        # tokens gathered for their experts, their order, what the experts give, weighted and put back
        saved += (2 * c * shape.hidden + 24) * chosen + 4 * shape.experts * 2
    return saved


def _inputs(shape: ModelShape, load: Workload) -> int:
    """Inputs of linear layers that are kept for the gradients of weights or adapters."""
    c = load.compute_bytes
    widths = _input_widths(shape)
    if load.tuning == "full":
        if load.autocast and load.stream_bytes == 4:  # each linear layer casts its input anew
            readers = 1 if shape.family.fused_inputs else 3
            gates = 1 if shape.family.fused_inputs else shape.family.mlp_matrices - 1
            return 2 * shape.hidden * (readers + gates) + 2 * widths["mlp output"]
        return c * (2 * shape.hidden + widths["mlp output"])
    saved = 0
    if load.held == "int8" or load.stack.keeps_4bit_inputs:
        saved += c * (2 * shape.hidden + widths["mlp output"])
    return saved + (_adapter_inputs(shape, load) if load.tuning == "lora" else 0)


def _adapter_inputs(shape: ModelShape, load: Workload) -> int:
    """Inputs of adapters: a copy of its own for each where it is cast, else one for all that read the same."""
    widths = _input_widths(shape)
    saved, shared = 0, set()
    is_cast = load.adapter_bytes != load.weight_bytes or load.stream_bytes != load.compute_bytes
    for matrix in shape.weights.matrices:
        if matrix.place == "tower" or not is_target(matrix.name, matrix.place, load):
            continue
        per_layer = matrix.count / shape.layers
        if matrix.place == "expert" and load.stack.fused_experts:
            continue  # see expert_copies
        if matrix.place == "expert":
            per_layer = per_layer * shape.experts_per_token / max(shape.experts, 1)
        kept = load.compute_bytes if load.autocast else load.adapter_bytes
        source = _INPUTS.get(matrix.name)
        if load.stack.fused_adapters:  # the input once, and a copy with zeros for each adapter; no masks
            if source not in shared and source != "attention output":
                saved += int(kept * matrix.inputs * min(per_layer, 1))
            shared.add(source)
            saved += int(kept * matrix.inputs * per_layer) if load.dropout else 0
        elif not is_cast and source in widths:
            if source not in shared and source != "attention output":
                saved += int(kept * matrix.inputs * min(per_layer, 1))
            shared.add(source)
        else:
            saved += int(kept * matrix.inputs * per_layer)
        saved += int(kept * load.rank * per_layer)
        if load.dropout and not load.stack.fused_adapters:
            mask = 1 if load.is_gpu else load.adapter_bytes  # CPUs have no kernel that keeps single bytes
            saved += int((mask + (0 if is_cast else kept)) * matrix.inputs * per_layer)
        if load.dora:
            saved += int(2 * load.compute_bytes * matrix.outputs * per_layer)
    return saved


def _keeps_input(shape: ModelShape, load: Workload, which: str) -> bool:
    if load.tuning == "full":
        return True
    return any(
        _INPUTS.get(matrix.name) == which and is_target(matrix.name, matrix.place, load)
        for matrix in shape.weights.matrices
    )


def _input_widths(shape: ModelShape) -> dict[str, int]:
    return {
        "attention": shape.hidden,
        "attention output": shape.q,
        "mlp": shape.hidden,
        "mlp output": _mlp_width(shape),
    }

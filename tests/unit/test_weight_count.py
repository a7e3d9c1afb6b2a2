"""Tensors sorted by what happens to them: packed, trained beside, left alone."""

from __future__ import annotations

import json
import math

import pytest

from tests.unit.models_on_disk import CONFIG
from tuner_tui.errors import InputError
from tuner_tui.models.facts import facts_from
from tuner_tui.models.packed import unpacked_shapes
from tuner_tui.models.safetensors_header import SafetensorsTensor, parse_header
from tuner_tui.models.weight_count import Matrix, WeightCount, count_tensors

H, Q, KV, M, V = 8, 8, 4, 16, 32
LAYER = {
    "self_attn.q_proj.weight": (Q, H),
    "self_attn.k_proj.weight": (KV, H),
    "self_attn.v_proj.weight": (KV, H),
    "self_attn.o_proj.weight": (H, Q),
    "input_layernorm.weight": (H,),
}
MLP = {"mlp.gate_proj.weight": (M, H), "mlp.up_proj.weight": (M, H), "mlp.down_proj.weight": (H, M)}


def tensor(dtype: str, *shape: int) -> SafetensorsTensor:
    elements = math.prod(shape)
    return SafetensorsTensor(dtype, elements, elements, shape)


def count(shapes: dict[str, tuple[int, ...]]) -> WeightCount:
    counted = count_tensors(shapes)
    assert counted is not None
    assert counted.total == sum(math.prod(shape) for shape in shapes.values())
    return counted


def layers(tensors: dict[str, tuple[int, ...]], number: int = 2) -> dict[str, tuple[int, ...]]:
    return {f"model.layers.{i}.{name}": shape for i in range(number) for name, shape in tensors.items()}


def test_a_dense_model_with_and_without_a_head_of_its_own() -> None:
    tied = count({"model.embed_tokens.weight": (V, H), "model.norm.weight": (H,), **layers(LAYER | MLP)})
    assert (tied.embedding, tied.head, tied.other) == (V * H, 0, H + 2 * H)
    assert tied.linear == 2 * (2 * H * Q + 2 * H * KV + 3 * H * M)
    assert tied.linear_rows == 2 * (Q + 2 * KV + H + 2 * M + H)
    assert Matrix("k_proj", H, KV, 2) in tied.matrices
    assert count({"lm_head.weight": (V, H), "model.embed_tokens.weight": (V, H)}).head == V * H


@pytest.mark.parametrize(
    "experts",
    [
        {f"mlp.experts.{e}.{n}_proj.weight": (M, H) for e in range(4) for n in ("gate", "up")},
        {f"block_sparse_moe.experts.{e}.w{n}.weight": (M, H) for e in range(4) for n in (1, 3)},
        {"mlp.experts.gate_up_proj": (4, 2 * M, H)},
        {"ffn_gate_exps.weight": (4, M, H), "ffn_up_exps.weight": (4, M, H)},
    ],
)
def test_experts_are_told_apart_however_they_are_stored(experts: dict[str, tuple[int, ...]]) -> None:
    counted = count(layers(LAYER | experts | {"mlp.gate.weight": (4, H)}))
    assert counted.experts == 2 * 4 * 2 * M * H
    assert counted.linear == 2 * (2 * H * Q + 2 * H * KV)
    assert counted.other == 2 * (H + 4 * H)


def test_a_shared_expert_is_a_plain_matrix() -> None:
    counted = count(
        layers({"mlp.shared_expert.down_proj.weight": (H, M), "mlp.shared_expert_gate.weight": (1, H)})
    )
    assert (counted.experts, counted.linear, counted.other) == (0, 2 * H * M, 2 * H)


def test_a_vision_tower_is_counted_apart() -> None:
    counted = count(
        {
            "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": (M, H),
            "vision_tower.vision_model.embeddings.patch_embedding.weight": (H, 3, 2, 2),
            "language_model.model.embed_tokens.weight": (V, H),
            **layers(LAYER),
        }
    )
    assert counted.tower == M * H + H * 3 * 2 * 2
    assert counted.linear == M * H + 2 * (2 * H * Q + 2 * H * KV)
    assert counted.embedding == V * H


@pytest.mark.parametrize(
    ("model_type", "buffers"),
    [
        ("gpt_neo", {"transformer.h.0.attn.attention.bias": (1, 1, 2048, 2048)}),
        ("gptj", {"transformer.h.0.attn.bias": (1, 1, 2048, 2048), "transformer.h.0.attn.masked_bias": ()}),
        ("codegen", {"transformer.h.0.attn.causal_mask": (1, 1, 2048, 2048)}),
        ("llama", {"model.layers.0.self_attn.rotary_emb.inv_freq": (64,)}),
    ],
)
def test_masks_that_older_code_stored_are_no_parameters(
    model_type: str, buffers: dict[str, tuple[int, ...]]
) -> None:
    shapes = {"transformer.wte.weight": (1000, 64), "transformer.h.0.attn.out_proj.bias": (64,)} | buffers
    tensors = {
        name: SafetensorsTensor("F32", math.prod(shape), 4 * math.prod(shape), shape)
        for name, shape in shapes.items()
    }
    assert facts_from({"model_type": model_type, "hidden_size": 64}, tensors).parameters == 64_064


def test_nothing_is_not_a_model() -> None:
    assert count_tensors({}) is None


@pytest.mark.parametrize(
    ("settings", "tensors"),
    [
        (
            {"quant_method": "gptq", "bits": 4},
            {
                "qweight": tensor("I32", M // 8, H),
                "qzeros": tensor("I32", 1, 1),
                "scales": tensor("F16", 1, H),
            },
        ),
        (
            {"quant_method": "gptq", "bits": 8},
            {"qweight": tensor("I32", M // 4, H), "g_idx": tensor("I32", M)},
        ),
        (
            {"quant_method": "awq", "bits": 4},
            {"qweight": tensor("I32", M, H // 8), "scales": tensor("F16", 1, H)},
        ),
        (
            {"quant_method": "fp8"},
            {"weight": tensor("F8_E4M3", H, M), "weight_scale_inv": tensor("F32", 1, 1)},
        ),
        (
            {"quant_method": "compressed-tensors"},
            {"weight_packed": tensor("I32", H, M // 8), "weight_scale": tensor("BF16", H, 1)},
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            {
                "weight": tensor("U8", H * M // 2, 1),
                "weight.absmax": tensor("U8", 2),
                "weight.quant_state.bitsandbytes__nf4": tensor("U8", 80),
            },
        ),
    ],
)
def test_packed_tensors_stand_for_the_whole_matrix(
    settings: dict[str, object], tensors: dict[str, SafetensorsTensor]
) -> None:
    named = {f"model.layers.0.mlp.down_proj.{name}": each for name, each in tensors.items()}
    shapes = unpacked_shapes(named, settings, {"h": H, "q": Q, "kv": KV, "m": M})
    assert shapes is not None
    assert count(shapes).matrices == (Matrix("down_proj", M, H, 1),)


def test_mxfp4_experts_stand_for_three_dimensions() -> None:
    tensors = {
        "model.layers.0.mlp.experts.gate_up_proj_blocks": tensor("U8", 4, 2 * M, 1, 16),
        "model.layers.0.mlp.experts.gate_up_proj_scales": tensor("U8", 4, 2 * M, 1),
    }
    shapes = unpacked_shapes(tensors, {"quant_method": "mxfp4"}, {})
    assert shapes == {"model.layers.0.mlp.experts.gate_up_proj": (4, 2 * M, 32)}
    assert count(shapes).experts == 4 * 2 * M * 32


def test_a_packing_that_nobody_knows_is_not_counted() -> None:
    odd = {"model.layers.0.mlp.down_proj.codes": tensor("I32", 4, 4)}
    assert unpacked_shapes(odd, {"quant_method": "aqlm"}, {}) is None
    column = {"model.layers.0.mlp.down_proj.weight": tensor("U8", 60, 1)}
    assert unpacked_shapes(column, {"quant_method": "bitsandbytes"}, {"h": H, "m": M}) is None
    facts = facts_from(CONFIG | {"quantization_config": {"quant_method": "aqlm"}}, odd)
    assert (facts.quantisation, facts.parameters, facts.weights, facts.weight_bytes) == (
        "aqlm",
        None,
        None,
        16,
    )


def test_a_mixture_and_its_experts_are_said() -> None:
    config = CONFIG | {
        "model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
    }  # fmt: skip
    facts = facts_from(config, {})
    assert (facts.experts, facts.experts_per_token, facts.expert_intermediate_size) == (128, 8, 768)
    shared = facts_from(config | {"n_shared_experts": 2}, {})
    assert shared.shared_intermediate_size == 1536


def test_numbers_of_an_unknown_type_take_a_bit_at_least() -> None:
    for shape, is_sound in (([8, 8], True), ([9, 8], False)):
        header = json.dumps({"x": {"dtype": "NEW", "shape": shape, "data_offsets": [0, 8]}}).encode()
        if is_sound:
            assert parse_header("file", header, None)["x"].elements == 64
        else:
            with pytest.raises(InputError, match="values in"):
                parse_header("file", header, None)

"""The memory estimate: terms that add up, peaks that move as they should, and absurd input that gives no number."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import Any

import pytest

from tuner_tui.models.facts import ModelFacts, facts_from
from tuner_tui.models.safetensors_header import SafetensorsTensor
from tuner_tui.planning.estimate import estimate_memory
from tuner_tui.planning.layers import layer_bytes
from tuner_tui.planning.peaks import generation_bytes
from tuner_tui.planning.shape import ModelShape, shape_of
from tuner_tui.planning.states import optimizer_bytes, trained_numbers
from tuner_tui.planning.workload import Stack, Workload

GIB = 2**30
MISTRAL: dict[str, Any] = {
    "model_type": "mistral", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14_336, "vocab_size": 32_000, "tie_word_embeddings": False,
}  # fmt: skip


def shape(**changes: Any) -> ModelShape:
    found = shape_of(facts_from(MISTRAL | changes, {}))
    assert found is not None
    return found


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
OLD = Stack(fused_experts=False, bytes_per_logit=14.0)
PUBLISHED: list[tuple[Workload, float]] = [
    (
        Workload(
            rows=4, length=4096, tuning="full", autocast=False, optimizer="adamw_foreach", loss="plain", stack=OLD,
            accumulates=False,
        ),
        67.460,
    ),
    (
        Workload(
            rows=8, length=4096, targets=ATTENTION, autocast=False, dropout=0.1, optimizer="adamw_foreach",
            loss="plain", stack=OLD, accumulates=False,
        ),
        36.082,
    ),
    (
        Workload(
            rows=4, length=4096, loaded_as="nf4", targets=ATTENTION, dropout=0.1,
            optimizer="adamw_foreach", loss="plain", stack=OLD, accumulates=False,
        ),
        15.249,
    ),
    (
        Workload(
            rows=8, length=4096, loaded_as="nf4", targets=ATTENTION, dropout=0.1,
            optimizer="adamw_foreach", loss="plain", stack=replace(OLD, fp32_stream=True), accumulates=False,
        ),
        34.461,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("load", "gib"), PUBLISHED)
def test_published_peaks(load: Workload, gib: float) -> None:
    """Four runs of foundation-model-stack/fms-acceleration on an A100, as torch's allocator counted them."""
    assert estimate_memory(shape(), load).allocated / GIB == pytest.approx(gib, rel=0.005)


@pytest.mark.parametrize("loaded_as", ["fp32", "bf16", "int8", "nf4"])
@pytest.mark.parametrize(
    "method", ["sft", "dpo", "kto", "orpo", "cpo", "reward", "alphapo", "grpo", "rloo", "ppo"]
)
@pytest.mark.parametrize("tuning", ["full", "lora", "prompt"])
@pytest.mark.parametrize("checkpointing", ["on", "off", "offloaded"])
def test_terms_add_up_everywhere(loaded_as: Any, method: str, tuning: Any, checkpointing: Any) -> None:
    load = Workload(
        loaded_as=loaded_as, method=method, tuning=tuning, checkpointing=checkpointing, virtual_tokens=20
    )
    found = estimate_memory(shape(), load)
    assert sum(term.bytes for term in found.terms) == found.allocated
    assert all(term.bytes >= 0 for term in found.terms)
    assert found.low <= found.likely <= found.high
    assert found.peak.bytes == max(peak.bytes for peak in found.peaks) == found.allocated


def allocated(**changes: Any) -> int:
    return estimate_memory(shape(), replace(Workload(), **changes)).allocated


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"rows": 1}, {"rows": 2}),
        ({"length": 512}, {"length": 1024}),
        ({"rank": 8}, {"rank": 64}),
        ({"targets": "attention"}, {"targets": "all-linear"}),
        ({"checkpointing": "on"}, {"checkpointing": "off"}),
        ({"checkpointing": "offloaded", "rows": 4}, {"checkpointing": "on", "rows": 4}),
        ({"loaded_as": "nf4"}, {"loaded_as": "int8"}),
        ({"loaded_as": "int8"}, {"loaded_as": "bf16"}),
        ({"loaded_as": "bf16"}, {"loaded_as": "fp32"}),
        ({"optimizer": "adamw_8bit"}, {"optimizer": "adamw"}),
        ({"method": "sft"}, {"method": "dpo"}),
        ({"dora": False}, {"dora": True}),
        ({"dropout": 0.0}, {"dropout": 0.1}),
        ({"attention": "fused"}, {"attention": "eager"}),
        ({"padded": False}, {"padded": True}),
        ({"tuning": "lora"}, {"tuning": "full"}),
        (
            {"method": "dpo", "tuning": "full", "precomputed_reference": True},
            {"method": "dpo", "tuning": "full", "precomputed_reference": False},
        ),
        ({"method": "ppo", "shared_base": True}, {"method": "ppo", "shared_base": False}),
        ({"loss": "trl_fused", "rows": 4}, {"loss": "plain", "rows": 4}),
    ],
)
def test_what_costs_more_is_more(less: dict[str, Any], more: dict[str, Any]) -> None:
    assert allocated(**less) < allocated(**more)


def test_states_follow_the_parameters_type() -> None:
    full = Workload(tuning="full")
    numbers = shape().weights.total
    assert optimizer_bytes(shape(), full, 2 * numbers) == 4 * numbers
    small = optimizer_bytes(shape(), replace(full, optimizer="adamw_8bit"), 2 * numbers)
    assert small == round(2 * (1 + 4 / 256) * numbers)
    assert optimizer_bytes(shape(), replace(full, optimizer="sgd"), 2 * numbers) == 0


def test_paged_states_are_outside_the_allocator_but_in_the_drivers_range() -> None:
    load = Workload(tuning="full", optimizer="paged_adamw_8bit")
    paged, plain = (
        estimate_memory(shape(), load),
        estimate_memory(shape(), replace(load, optimizer="adamw_8bit")),
    )
    assert paged.allocated < plain.allocated
    assert paged.high - paged.low > plain.high - plain.low


def test_adapters_are_counted_by_rank_and_sides() -> None:
    load = Workload(rank=16, targets=("q_proj", "v_proj"))
    assert trained_numbers(shape(), load) == 32 * 16 * ((4096 + 4096) + (4096 + 1024))
    assert trained_numbers(shape(), replace(load, dora=True)) == trained_numbers(shape(), load) + 32 * (
        4096 + 1024
    )
    assert trained_numbers(shape(), Workload(tuning="prompt", virtual_tokens=20)) == 20 * 4096


def test_norms_of_heads_and_gemmas_four_norms_are_kept() -> None:
    load = Workload(tuning="lora", checkpointing="off")
    plain = layer_bytes(shape(), load).saved
    assert layer_bytes(shape(model_type="qwen3"), load).saved == plain + 4 * (4096 + 1024) + 4 * (32 + 8)
    assert layer_bytes(shape(model_type="gemma3_text"), load).saved > plain + 8 * 4096


MIXTURE = {
    "model_type": "qwen3_moe",
    "num_experts": 64,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 1024,
}


def test_experts_stay_unquantised_in_this_stack_and_were_packed_in_older_ones() -> None:
    found = shape(**MIXTURE)
    assert found.weights.experts == 32 * 64 * 3 * 4096 * 1024
    now = estimate_memory(found, Workload(loaded_as="nf4", targets="attention"))
    before = estimate_memory(
        found, Workload(loaded_as="nf4", targets="attention", stack=Stack(fused_experts=False))
    )
    assert now.weights > 2 * found.weights.experts
    assert before.weights < 0.7 * found.weights.experts + 2 * (found.weights.total - found.weights.experts)


def test_a_quantised_repository_weighs_what_its_files_say() -> None:
    load = Workload(loaded_as="stored")
    assert estimate_memory(shape(), load, 4_000_000_000).weights == 4_000_000_000


def test_an_unknown_architecture_has_exact_weights_and_a_wide_range() -> None:
    known = estimate_memory(shape(), Workload(rows=8))
    unknown = estimate_memory(shape(model_type="something_new"), Workload(rows=8))
    assert (known.is_known, unknown.is_known) == (True, False)
    assert unknown.weights == known.weights
    assert unknown.low < known.low and unknown.high > known.high


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 0}, {"vocab_size": None}, {"num_attention_heads": 10**6}, {"hidden_size": -4096},
        {"num_hidden_layers": 10**9}, {"num_key_value_heads": 64}, {"intermediate_size": "wide"},
        {"vocab_size": 10**12}, {"num_experts": 4, "num_experts_per_tok": 8}, {"num_experts": 4},
        {"num_experts": 10**9, "num_experts_per_tok": 8},
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 10**9},
        {"num_experts": 4, "num_experts_per_tok": 2, "shared_expert_intermediate_size": 10**9},
    ],
)  # fmt: skip
def test_absurd_configs_give_no_number(change: dict[str, Any]) -> None:
    assert shape_of(facts_from(MISTRAL | change, {})) is None


def test_facts_without_sizes_give_no_number() -> None:
    assert shape_of(ModelFacts()) is None
    whole = facts_from(MISTRAL, {})
    for name in ("hidden_size", "layers", "heads", "vocab_size", "intermediate_size"):
        assert shape_of(dataclasses.replace(whole, **dict[str, Any]({name: None}))) is None, name


def test_memory_on_a_cpu_has_the_fallback_of_the_loss() -> None:
    load = Workload(rows=8, length=512, is_gpu=False)
    assert (
        estimate_memory(shape(), load).allocated
        > estimate_memory(shape(), replace(load, is_gpu=True)).allocated
    )


def counted_facts(layers: int, **changes: Any) -> ModelFacts:
    """Facts with headers of so many layers, whatever the config says."""
    tensors = {"model.embed_tokens.weight": (32_000, 4096), "lm_head.weight": (32_000, 4096)}
    for layer in range(layers):
        sizes = {"q": (4096, 4096), "k": (1024, 4096), "v": (1024, 4096), "o": (4096, 4096)}
        for name, sides in sizes.items():
            tensors[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = sides
        for name, sides in {"gate": (14_336, 4096), "up": (14_336, 4096), "down": (4096, 14_336)}.items():
            tensors[f"model.layers.{layer}.mlp.{name}_proj.weight"] = sides
    header = {
        name: SafetensorsTensor("BF16", math.prod(sides), 2 * math.prod(sides), sides)
        for name, sides in tensors.items()
    }
    return facts_from(MISTRAL | changes, header)


def test_headers_with_other_layers_than_the_config_are_doubted() -> None:
    exact, short = shape_of(counted_facts(32)), shape_of(counted_facts(29))
    assert exact is not None and exact.is_known and not exact.doubt
    assert short is not None and not short.is_known
    assert "have 29 layers, but config.json says 32" in short.doubt
    narrow = shape_of(counted_facts(32, intermediate_size=12_000))
    assert narrow is not None and not narrow.is_known and "parameters" in narrow.doubt
    assert shape_of(counted_facts(12)) is None


def test_weights_that_nobody_counted_widen_the_range() -> None:
    facts = counted_facts(32, model_type="something_new")
    counted, guessed = shape_of(facts), shape_of(dataclasses.replace(facts, weights=None))
    assert counted is not None and guessed is not None
    ranges = [
        found.high - found.low for found in (estimate_memory(each, Workload()) for each in (counted, guessed))
    ]
    assert ranges[1] > ranges[0] + 0.5 * 0.3 * 2 * counted.weights.total


def test_adafactor_counts_many_experts_at_once() -> None:
    found = shape(**(MIXTURE | {"num_experts": 16_384}))
    load = Workload(optimizer="adafactor", stack=OLD)
    each = 2 * 16 + 4096 + 1024
    states = optimizer_bytes(found, load, 0)
    assert states >= 4 * 32 * 16_384 * 3 * each


@pytest.mark.parametrize("method", ["grpo", "rloo", "ppo"])
def test_written_answers_are_learnt_from_too(method: str) -> None:
    sampled = Workload(rows=4, length=512, answer_length=512, method=method, checkpointing="off")
    assert sampled.tokens == 4 * 1024
    learnt = estimate_memory(shape(), replace(sampled, method="sft", length=1024)).allocated
    assert estimate_memory(shape(), sampled).allocated >= learnt


def test_a_group_of_answers_is_written_whole_however_few_are_learnt_from_at_once() -> None:
    one, eight, sixteen = (
        generation_bytes(shape(), Workload(rows=rows, method="grpo", answers=8)) for rows in (1, 8, 16)
    )
    assert one == eight == sixteen / 2

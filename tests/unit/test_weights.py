"""The weights of a model in each precision: arithmetic against models whose sizes are known."""

from __future__ import annotations

import dataclasses

import pytest

from tuner_tui.models.facts import ModelFacts
from tuner_tui.planning.weights import (
    NF4_BYTES,
    Held,
    WeightCount,
    count_weights,
    held_as,
    int8_bytes,
    nf4_bytes,
    weigh,
)

SMOLLM2 = ModelFacts(
    hidden_size=576, layers=30, heads=9, kv_heads=3, head_dim=64, intermediate_size=1536, vocab_size=49152,
    tied_embeddings=True, parameters=134_515_008,
)  # fmt: skip
QWEN3_8B = ModelFacts(
    hidden_size=4096, layers=36, heads=32, kv_heads=8, head_dim=128, intermediate_size=12288,
    vocab_size=151936, tied_embeddings=False, parameters=8_190_735_360,
)  # fmt: skip


def test_a_tied_table_is_counted_once() -> None:
    counted = count_weights(SMOLLM2)
    assert counted is not None
    assert counted.linear == 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 576 * 1536)
    assert counted.other == 49152 * 576 + 61 * 576
    assert counted.linear + counted.other == SMOLLM2.parameters


def test_rows_are_the_outputs_of_a_layers_matrices() -> None:
    counted = count_weights(SMOLLM2)
    assert counted is not None
    assert counted.linear_rows == 30 * (576 + 192 + 192 + 576 + 1536 + 1536 + 576)


def test_nf4_holds_half_a_byte_and_two_levels_of_scales() -> None:
    assert NF4_BYTES == 0.5 + (1 + 4 / 256) / 64
    assert nf4_bytes(WeightCount(linear=64 * 256, linear_rows=1, other=0)) == 64 * 128 + 256 + 4


def test_int8_holds_a_byte_and_a_scale_for_each_row() -> None:
    assert int8_bytes(WeightCount(linear=1000, linear_rows=10, other=5)) == 1000 + 40 + 10


def test_an_8b_model_as_the_presets_tell_it() -> None:
    table = weigh(QWEN3_8B)
    held: dict[Held, float] = {"fp32": 32.8, "bf16": 16.4, "int8": 9.4, "nf4": 6.1}
    for precision, gigabytes in held.items():
        assert (table.get(precision) or 0) / 1e9 == pytest.approx(gigabytes, abs=0.06)
    assert table.note == ""


def test_what_is_not_known_is_not_guessed() -> None:
    unknown = weigh(None)
    assert set(unknown.bytes_by_precision.values()) == {None}
    assert unknown.note == "unknown until downloaded"
    told = weigh(None, 4_000_000_000)
    assert (told.get("bf16"), told.get("nf4")) == (8_000_000_000, None)
    assert "4-bit" in told.note
    no_sizes = weigh(ModelFacts(parameters=1000))
    assert (no_sizes.get("fp32"), no_sizes.get("int8")) == (4000, None)
    assert "int8" in no_sizes.note


def test_a_quantised_model_has_no_other_precision() -> None:
    table = weigh(dataclasses.replace(SMOLLM2, quantisation="gptq", parameters=None))
    assert table.get("bf16") is None
    assert "gptq" in table.note


@pytest.mark.parametrize(
    ("precision", "tuning", "is_gpu", "held"),
    [
        ("auto", "lora", True, "bf16"),
        ("auto", "lora", False, None),
        ("auto", "full", True, "fp32"),
        ("fp16", "lora", True, "bf16"),
        ("nf4", "lora", False, "nf4"),
    ],
)
def test_which_row_a_run_uses(precision: str, tuning: str, is_gpu: bool, held: str | None) -> None:
    assert held_as(precision, tuning, is_gpu) == held  # type: ignore[arg-type]

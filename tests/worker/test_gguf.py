"""A GGUF base is dequantised once into the cache, and trained like any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuner_tui.errors import InputError
from tuner_tui.models.dequantised import list_entries
from tuner_tui.runs.events import ModelLoaded, RunFinished
from tuner_tui.worker.loading import dequantise_once

if TYPE_CHECKING:
    from collections.abc import Callable

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


def write_llama_gguf(model: Any, tokenizer: Any, path: Path) -> Path:
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
    writer.add_rope_freq_base(10000.0)
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
    assert entry.is_whole and entry.name == "tiny.gguf"
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

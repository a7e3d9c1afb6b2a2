"""Small real model files for the tests of `models/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "dtype": "float32",
}


def write_safetensors(path: Path, names: tuple[str, ...] = ("model.embed_tokens.weight",)) -> None:
    """A real safetensors file; each tensor holds 32 x 8 float32 numbers (1024 bytes)."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.ones((32, 8), dtype=np.float32) for name in names}, path)


def write_header(path: Path, header: object, data: bytes = b"") -> None:
    """A safetensors file with whatever header a test wants."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def make_folder(folder: Path, config: object = CONFIG) -> Path:
    """A whole model's folder: config, weights, tokenizer."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors")
    return folder


def make_shards(folder: Path) -> Path:
    """A model's folder with two shards and their index."""
    make_folder(folder)
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, name in enumerate(("model.embed_tokens.weight", "lm_head.weight"), 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        write_safetensors(folder / shard, (name,))
        weight_map[name] = shard
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def write_gguf(path: Path, architecture: str = "llama", tokens: int = 32, **extra: str | int) -> Path:
    """A GGUF file with a float32 and a Q4_0 tensor; `extra` adds metadata (general__type is general.type)."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_license("apache-2.0")
    writer.add_chat_template("{{ messages }}")
    if tokens:
        writer.add_token_list([f"token {number}" for number in range(tokens)])
        writer.add_token_types([1] * tokens)
    for key, value in extra.items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint16
        add(key.replace("__", "."), value)
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    packed = np.ones((32, 18), dtype=np.uint8)  # a Q4_0 block holds 32 numbers in 18 bytes
    writer.add_tensor("token_embd.weight", packed, raw_dtype=GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

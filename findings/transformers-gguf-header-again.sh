#!/bin/sh
# transformers 5.23.0, gguf 0.19.0: loading a GGUF file reads its header once for each thing that is loaded, and makes the
# table of tensor names once for each module of the model.
#
# Expected: one reader and one table for one file.
# Seen: one reader for the tokenizer and two for the model, where each takes every string of the vocabulary through
# slices of numpy.memmap; and one table for each module, here 33 for two layers. A file of 92 MB (SmolLM2-135M, 49,152
# tokens, 30 layers) takes 40 s on one core, of which 4 s are dequantising; with one reader over a plain array and one
# table it takes 11 s and gives the same bytes.
# Way round: hand out the same reader and table while one file is loaded.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 numpy==2.4.6
cd "$work"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

VOCAB, LAYERS = 64, 2
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=LAYERS,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_context_length(128)
writer.add_embedding_length(32)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(32)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_dimension_count(16)
writer.add_rope_freq_base(10000.0)
writer.add_vocab_size(VOCAB)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("default")
writer.add_token_list([chr(65 + n) for n in range(VOCAB - 1)] + ["AB"])
writer.add_token_types([1] * VOCAB)
writer.add_token_merges(["A B"])
writer.add_bos_token_id(0)
writer.add_eos_token_id(1)
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
for name, tensor in LlamaForCausalLM(config).state_dict().items():
    writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(tensor.numpy()))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

readers, tables = [], []
reader, table = gguf.GGUFReader, gguf.get_tensor_name_map
gguf.GGUFReader = lambda *given, **named: (readers.append(1), reader(*given, **named))[1]
gguf.get_tensor_name_map = lambda *given: (tables.append(given), table(*given))[1]
AutoTokenizer.from_pretrained(".", gguf_file="model.gguf")
of_tokenizer = len(readers)
model = AutoModelForCausalLM.from_pretrained(".", gguf_file="model.gguf")
of_model = len(readers) - of_tokenizer
modules = sum(1 for _ in model.modules())
print(f"readers of one file: {of_tokenizer} for the tokenizer, {of_model} for the model")
print(f"tables of the same names: {len(tables)}, {len(set(tables))} of them different; modules: {modules}")
assert (of_tokenizer, of_model) == (1, 2), "CHANGED"
assert len(tables) > 20 and len(set(tables)) == 1, "CHANGED"
PY

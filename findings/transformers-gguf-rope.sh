#!/bin/sh
# transformers 5.23.0: `from_pretrained(gguf_file=...)` reads Llama 3.1, 3.2 and 3.3 files without their rotary scaling.
#
# Expected: the model of the file, or an error.
# Seen: llama.cpp's converter stores llama3 rotary scaling as the tensor `rope_freqs.weight`. The reader has no place for
# that tensor and drops it silently; the configuration says rope_type "default". Short prompts change little (here 0.6 in the
# largest log-probability after 10 tokens), long ones completely (51 after 1,000), so it is easy to miss. An adapter trained
# on such a base belongs to another model than the one that llama.cpp serves.
# Way round: compare `rope_freqs.weight` with the factors of the known scalings and write them into the configuration.
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
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
rope = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
config = LlamaConfig(
    vocab_size=32,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=131072,
    rope_parameters=rope,
)
model = LlamaForCausalLM(config).eval()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.mul_(8)  # so that attention depends on positions

plain = 1 / 500000.0 ** (torch.arange(0, 32, 2).float() / 32)
factors = (plain / model.model.rotary_emb.inv_freq).numpy().astype(np.float32)

# the file as llama.cpp's converter writes it for this configuration
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_context_length(131072)
writer.add_embedding_length(64)
writer.add_block_count(1)
writer.add_feed_forward_length(64)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_key_length(32)
writer.add_value_length(32)
writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_dimension_count(32)
writer.add_rope_freq_base(500000.0)
writer.add_vocab_size(32)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("llama-bpe")
writer.add_token_list([f"t{i}" for i in range(32)])
writer.add_token_types([1] * 32)
writer.add_token_merges(["t 0"])
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
for name, tensor in model.state_dict().items():
    values = tensor.numpy()
    if "q_proj" in name or "k_proj" in name:  # llama.cpp keeps rotary pairs side by side
        values = values.reshape(2, 2, 16, 64).swapaxes(1, 2).reshape(64, 64)
    writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(values))
writer.add_tensor("rope_freqs.weight", factors)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

read = LlamaForCausalLM.from_pretrained(".", gguf_file="model.gguf", dtype=torch.float32).eval()
print("stored:", rope)
print("read:  ", read.config.rope_parameters)
difference = {}
for length in (10, 1000):
    tokens = torch.randint(0, 32, (1, length), generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        stored, seen = (m(tokens).logits.log_softmax(-1) for m in (model, read))
    difference[length] = (stored - seen).abs().max().item()
    print(f"{length} tokens: largest difference of a log-probability {difference[length]:.3f}")
assert read.config.rope_parameters["rope_type"] == "default", "CHANGED"
assert difference[1000] > 1, "CHANGED"
PY

"""The keys under which config.json files state a model's sizes."""

from __future__ import annotations

HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model", "dim")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
HEAD_DIM = ("head_dim", "attention_head_dim")
INTERMEDIATE = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "dff", "decoder_ffn_dim")
VOCABULARY = ("vocab_size",)
CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
)
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
EXPERT_INTERMEDIATE = ("moe_intermediate_size", "intermediate_size_moe", "moe_ffn_hidden_size")
SHARED_INTERMEDIATE = ("shared_expert_intermediate_size", "shared_intermediate_size")
SHARED_EXPERTS = ("n_shared_experts", "num_shared_experts")
EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")
STATE = ("state_size", "mamba_d_state", "ssm_state_size")
TIED, MULTI_QUERY, NEW_DECODER = "tie_word_embeddings", "multi_query", "new_decoder_architecture"

SIZE_KEYS = frozenset(
    (
        *HIDDEN, *LAYERS, *HEADS, *KV_HEADS, *HEAD_DIM, *INTERMEDIATE, *VOCABULARY, *CONTEXT, *EXPERTS,
        *EXPERT_INTERMEDIATE, *SHARED_INTERMEDIATE, *SHARED_EXPERTS, *EXPERTS_PER_TOKEN, *STATE,
        TIED, MULTI_QUERY, NEW_DECODER,
    )
)  # fmt: skip
"""All of them; the defaults of these are in the table of architectures."""

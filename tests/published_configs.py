"""Settings of models as their repositories publish them: what a class has by default is left out."""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, dict[str, Any]] = {
    "gemma-3-4b-it": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255_999, "eoi_token_index": 256_000,
        "eos_token_id": [1, 106], "image_token_index": 262_144, "initializer_range": 0.02,
        "mm_tokens_per_image": 256, "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10_240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16",
        "vision_config": {
            "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
            "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
        },
    },
    "gpt2": {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50_256, "embd_pdrop": 0.1, "eos_token_id": 50_256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12,
        "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None, "vocab_size": 50_257,
    },
    "bloom-560m": {
        "architectures": ["BloomForCausalLM"], "attention_softmax_in_fp32": True, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_size": 1024, "model_type": "bloom", "n_head": 16, "n_inner": None, "n_layer": 24,
        "num_attention_heads": 16, "offset_alibi": 100, "pad_token_id": 3, "seq_length": 2048, "vocab_size": 250_880,
    },
    "gpt-neo-125m": {
        "activation_function": "gelu_new", "architectures": ["GPTNeoForCausalLM"],
        "attention_layers": ["global", "local"] * 6, "attention_types": [[["global", "local"], 6]],
        "bos_token_id": 50_256, "eos_token_id": 50_256, "hidden_size": 768, "intermediate_size": None,
        "max_position_embeddings": 2048, "model_type": "gpt_neo", "num_heads": 12, "num_layers": 12,
        "vocab_size": 50_257, "window_size": 256,
    },
    "falcon-7b": {
        "alibi": False, "architectures": ["FalconForCausalLM"], "bias": False, "bos_token_id": 11, "eos_token_id": 11,
        "hidden_size": 4544, "model_type": "falcon", "multi_query": True, "new_decoder_architecture": False,
        "num_attention_heads": 71, "num_hidden_layers": 32, "parallel_attn": True, "vocab_size": 65_024,
    },
    "mamba-130m-hf": {
        "architectures": ["MambaForCausalLM"], "bos_token_id": 0, "conv_kernel": 4, "d_inner": 1536, "d_model": 768,
        "eos_token_id": 0, "expand": 2, "hidden_size": 768, "intermediate_size": 1536, "model_type": "mamba",
        "n_layer": 24, "num_hidden_layers": 24, "pad_token_id": 0, "state_size": 16, "time_step_rank": 48,
        "vocab_size": 50_280,
    },
    "LFM2-350M": {
        "architectures": ["Lfm2ForCausalLM"], "block_auto_adjust_ff_dim": True, "block_dim": 1024,
        "block_ff_dim": 6656, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256, "bos_token_id": 1,
        "conv_L_cache": 3, "conv_bias": False, "conv_dim": 1024, "eos_token_id": 7, "hidden_size": 1024,
        "layer_types": ["conv", "conv", "full_attention"] * 4 + ["conv", "full_attention"] * 2,
        "max_position_embeddings": 128_000, "model_type": "lfm2", "num_attention_heads": 16,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "pad_token_id": 0, "vocab_size": 65_536,
    },
    "llava-1.5-7b-hf": {
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 32_000,
        "model_type": "llava", "pad_token_id": 32_001, "projector_hidden_act": "gelu",
        "text_config": {
            "_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
            "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
            "torch_dtype": "float16", "vocab_size": 32_064,
        },
        "tie_word_embeddings": False, "torch_dtype": "float16",
        "vision_config": {
            "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
            "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768,
            "vocab_size": 32_000,
        },
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
    },
    "gpt-oss-20b": {
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "eos_token_id": 200_002,
        "experts_per_token": 4, "head_dim": 64, "hidden_size": 2880, "initial_context_length": 4096,
        "intermediate_size": 2880, "max_position_embeddings": 131_072, "model_type": "gpt_oss",
        "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 8,
        "num_local_experts": 32, "pad_token_id": 199_999, "tie_word_embeddings": False, "vocab_size": 201_088,
    },
    "Qwen2.5-VL-3B-Instruct": {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "bos_token_id": 151_643, "eos_token_id": 151_645,
        "hidden_size": 2048, "image_token_id": 151_655, "intermediate_size": 11_008,
        "max_position_embeddings": 128_000, "model_type": "qwen2_5_vl", "num_attention_heads": 16,
        "num_hidden_layers": 36, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_section": [16, 24, 24], "type": "mrope"}, "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True, "video_token_id": 151_656,
        "vision_config": {
            "depth": 32, "fullatt_block_indexes": [7, 15, 23, 31], "hidden_act": "silu", "hidden_size": 1280,
            "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048, "patch_size": 14,
            "spatial_merge_size": 2, "window_size": 112,
        },
        "vocab_size": 151_936,
    },
    "granite-3.1-1b-a400m-instruct": {
        "architectures": ["GraniteMoeForCausalLM"], "attention_multiplier": 0.015625, "bos_token_id": 0,
        "embedding_multiplier": 12.0, "eos_token_id": 0, "hidden_size": 1024, "intermediate_size": 512,
        "logits_scaling": 6.0, "max_position_embeddings": 131_072, "model_type": "granitemoe",
        "num_attention_heads": 16, "num_experts_per_tok": 8, "num_hidden_layers": 24, "num_key_value_heads": 8,
        "num_local_experts": 32, "output_router_logits": False, "pad_token_id": 0, "residual_multiplier": 0.22,
        "router_aux_loss_coef": 0.0, "tie_word_embeddings": True, "vocab_size": 49_155,
    },
    "starcoder": {
        "activation_function": "gelu", "architectures": ["GPTBigCodeForCausalLM"], "attn_pdrop": 0.1,
        "bos_token_id": 0, "eos_token_id": 0, "model_type": "gpt_bigcode", "multi_query": True, "n_embd": 6144,
        "n_head": 48, "n_inner": 24_576, "n_layer": 40, "n_positions": 8192, "vocab_size": 49_152,
    },
    "pythia-1.4b": {
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu",
        "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 2048, "model_type": "gpt_neox",
        "num_attention_heads": 16, "num_hidden_layers": 24, "rotary_emb_base": 10_000, "rotary_pct": 0.25,
        "tie_word_embeddings": False, "use_parallel_residual": True, "vocab_size": 50_304,
    },
}  # fmt: skip
"""By the models' names."""

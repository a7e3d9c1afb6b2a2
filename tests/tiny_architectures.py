"""Tiny random models of transformers' architectures, each built from its own config class."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

if TYPE_CHECKING:
    from pathlib import Path

LANGUAGE_TYPES = tuple(sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES}))
"""The model types that transformers can write text with, with and without images or sound."""
VOCABULARY = 259
"""Tokens of tests.tiny_model's tokenizer."""
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "encoder_ffn_dim"), 64),
    **dict.fromkeys(("decoder_ffn_dim", "dff", "dim_ff"), 64),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 512),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("head_dim", "attention_head_dim", "rotary_dim", "embedding_size", "relative_attention"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "state_size", "ssm_state_size"), 8),
    "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2, "sliding_window": 256,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    "linear_num_value_heads": 4, "linear_num_key_heads": 2,
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_d_ssm": 64, "mamba_n_groups": 1,
    "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 1, "lru_width": 32, "mamba_expand": 2,
    "index_n_heads": 2, "index_head_dim": 8, "index_topk": 8, "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
}  # fmt: skip
"""Small values of the keys that configurations share; a configuration takes those that it has."""
TOWER: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "out_hidden_size", "embed_dim", "d_model", "output_dim", "text_hidden_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "depth", "num_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "vision_output_dim"), 64),
    "num_key_value_heads": 4, "head_dim": 8, "image_size": 28, "patch_size": 14, "num_global_layers": 1,
    "intermediate_layers_indices": [0], "deepstack_visual_indexes": [0], "fullatt_block_indexes": [0],
}  # fmt: skip
MROPE: dict[str, Any] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
}
ROPE: dict[str, Any] = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
HYBRID: dict[str, Any] = {"layers_block_type": ["mamba", "attention"]}
OWN: dict[str, dict[str, Any]] = {
    "bert": {"is_decoder": True},
    "biogpt": {"scale_embedding": False},
    "codegen": {"rotary_dim": 8},
    "cwm": {"bos_token_id": 1},
    "ctrl": {"dff": 64},
    "gemma3n_text": {"num_kv_shared_layers": 0, "laurel_rank": 4, "altup_num_inputs": 2},
    "gemma4_text": {"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 259},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2},
    "mllama_text_model": {"num_hidden_layers": 4, "cross_attention_layers": [1, 3], "bos_token_id": 1, **ROPE},
    "nemotron_h": {"layers_block_type": ["mamba", "attention", "moe", "mlp"], "num_hidden_layers": 4},
    "paddleocr_vl_text": MROPE,
    "qwen2_5_vl_text": MROPE,
    "qwen2_vl_text": MROPE,
    "glm4v_text": MROPE,
    "glm4v_moe_text": {"rope_parameters": {**MROPE["rope_parameters"], "partial_rotary_factor": 1.0}},
    "glm_ocr_text": MROPE,
    "zamba2": HYBRID | {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 4},
    "zamba": HYBRID | {"layers_block_type": ["mamba", "hybrid"]},
}  # fmt: skip
"""Values that one model type needs besides."""


def tiny_config(model_type: str, **own: Any) -> Any:
    """A configuration of a few thousand parameters; `own` overrides values at its top level."""
    kind = CONFIG_MAPPING[model_type]
    parts: dict[str, Any] = {}
    plain = kind() if getattr(kind, "sub_configs", None) else None
    for name in getattr(kind, "sub_configs", {}):
        part: Any = type(getattr(plain, name, None))
        if not hasattr(part, "model_type"):
            continue
        is_text = name in ("text_config", "llm_config", "language_config", "decoder_config")
        small = SMALL | OWN.get(part.model_type, {}) if is_text else TOWER
        parts[name] = {**_of(part, small), "model_type": part.model_type}
    if "text_config" in parts:
        return kind(**parts | own)
    return kind(**_of(kind, SMALL | OWN.get(model_type, {})) | parts | own)


def _of(kind: Any, small: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(kind)}
    if "qk_rope_head_dim" in known:  # multi-head latent attention has keys for each head
        known -= {"head_dim"}
        small = small | {"num_key_value_heads": small["num_attention_heads"]}
    return {name: value for name, value in small.items() if name in known}


def loader_of(model_type: str) -> Any:
    """transformers' auto class that knows the type."""
    return (
        AutoModelForCausalLM if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else AutoModelForMultimodalLM
    )


def skeleton(model_type: str, **own: Any) -> Any:
    """The tiny model on the meta device, as AutoModelForCausalLM or AutoModelForMultimodalLM builds it."""
    with torch.device("meta"):
        return loader_of(model_type).from_config(tiny_config(model_type, **own))


def whole_class(model_type: str) -> Any:
    """The class whose checkpoints are published: of a model that takes images, the one with its towers."""
    name = MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.get(model_type)
    return getattr(transformers, name or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])


def save_tiny(model_type: str, folder: Path, tokenizer: Path, **own: Any) -> Path:
    """Save a tiny model as its repositories are published, with a tokenizer of `VOCABULARY` tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = whole_class(model_type)(tiny_config(model_type, **own))
        for parameter in model.parameters():
            if not torch.isfinite(parameter).all():
                torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / name, folder)
    return folder

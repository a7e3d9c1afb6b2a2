"""Writes GGUF files: a LoRA adapter for llama.cpp, or a merged model, tensor by tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

from tuner_tui.errors import InputError
from tuner_tui.worker.export.gguf_shapes import (
    Shape,
    TensorNames,
    find_shape,
    head_dim,
    interleave_rows,
    rope_factors,
    rope_kind,
)
from tuner_tui.worker.export.gguf_tokenizer import add_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.worker.export.merge import MergedWeights
    from tuner_tui.worker.export.weight_updates import AdapterUpdates

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
QUANTS = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
LARGEST_F16 = 65504.0


def write_gguf_adapter(
    updates: AdapterUpdates, config: Any, out: Path, quant: str, base_name: str | None
) -> None:
    """Write a LoRA adapter as llama.cpp reads it.

    llama.cpp scales each update by alpha / rank with one alpha per file, so other scales (rsLoRA, an alpha per
    module) are folded into the second matrix. Raises InputError for adapters that the format cannot represent.
    """
    shape = find_shape(config)
    _refuse_what_gguf_cannot_say(updates)
    names = TensorNames(config, shape)
    alpha = float(getattr(updates.config, "lora_alpha", 1.0))
    writer = gguf.GGUFWriter(out, shape.name)
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        if base_name:
            _add_base(writer, base_name)
        for module, update in updates.low_rank.items():
            name = names.find(f"{module}.weight")
            fold = update.scale / (alpha / update.rank)
            up = interleave_rows(update.up.float() * fold, names.heads_of(module))
            for part, tensor in (("lora_a", update.down.float()), ("lora_b", up)):
                data = tensor.contiguous().numpy()
                writer.add_tensor(f"{name}.{part}", data.astype(np.float16) if quant == "f16" else data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _refuse_what_gguf_cannot_say(updates: AdapterUpdates) -> None:
    reason = ""
    if updates.replaced:
        reason = f"It contains full trained weights ({next(iter(updates.replaced))})."
    elif updates.scaled:
        reason = "It cannot represent IA3's factors of rows and columns."
    elif any(update.magnitude is not None for update in updates.low_rank.values()):
        reason = "It cannot represent DoRA's magnitudes."
    if reason:
        raise InputError(
            "This adapter cannot be exported as a GGUF adapter",
            f"llama.cpp's adapter format holds plain low-rank updates. {reason}",
            "Export it merged instead: --as gguf",
        )


def write_gguf_model(
    merged: MergedWeights,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_folder: Path,
    out: Path,
    quant: str,
    base_name: str | None,
    progress: Callable[[int, int], None],
) -> None:
    """Write a merged model as one GGUF file, tensor by tensor; `quant` is f32, f16 or q8_0."""
    config = merged.base.config
    shape = find_shape(config)
    names = TensorNames(config, shape)
    is_tied = bool(getattr(config, "tie_word_embeddings", False))
    loaded = {name: live.name for name, live in merged.base.live_outputs.items()}
    chosen = [name for name in merged.base.outputs if not (is_tied and loaded[name] == "lm_head.weight")]
    writer = gguf.GGUFWriter(out, shape.name)
    try:
        rows = merged.base.skeleton.get_input_embeddings().weight.shape[0]
        _add_settings(writer, config, shape, quant, rows)
        if base_name:
            _add_base(writer, base_name)
        add_tokenizer(writer, tokenizer_folder, tokenizer, rows)
        factors = rope_factors(config)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, np.dtype(np.float32), factors.nbytes)
        for name in chosen:
            size = merged.base.outputs[name].shape
            kind = tensor_kind(size, quant)
            stored = gguf.quant_shape_to_byte_shape(size, kind) if kind == QUANTS["q8_0"] else size
            width = {QUANTS["f32"]: np.float32, QUANTS["f16"]: np.float16}.get(kind, np.uint8)
            nbytes = int(np.prod(stored)) * np.dtype(width).itemsize
            writer.add_tensor_info(names.find(loaded[name]), stored, np.dtype(width), nbytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors.numpy())
        done = 0
        for name in chosen:
            values = interleave_rows(merged.read_exact(name).float(), names.heads_of(loaded[name]))
            writer.write_tensor_data(_packed(values, tensor_kind(tuple(values.shape), quant), name))
            done += merged.base.outputs[name].size_bytes
            progress(done, merged.total_bytes)
    finally:
        writer.close()


def tensor_kind(shape: tuple[int, ...], quant: str) -> gguf.GGMLQuantizationType:
    """The type of a tensor: fp32 for norms and biases, f16 for rows that are not a multiple of the block size."""
    if len(shape) == 1:
        return QUANTS["f32"]
    block = gguf.GGML_QUANT_SIZES[QUANTS[quant]][0]
    return QUANTS[quant] if shape[-1] % block == 0 else QUANTS["f16"]


def _packed(rows: Tensor, kind: gguf.GGMLQuantizationType, name: str) -> Any:
    if kind == QUANTS["f16"] and rows.abs().max().item() > LARGEST_F16:
        raise InputError(
            "A weight is too large for f16", f"{name} exceeds {LARGEST_F16:g}.", "Use --quant f32 or q8_0."
        )
    return gguf.quantize(rows.contiguous().numpy(), kind)


def _add_settings(writer: gguf.GGUFWriter, config: Any, shape: Shape, quant: str, vocabulary: int) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(FILE_TYPES[quant])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(vocabulary)
    writer.add_rope_dimension_count(head_dim(config))
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    if rope_kind(config) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(config.rope_parameters["factor"]))


def _add_base(writer: gguf.GGUFWriter, base_name: str) -> None:
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base_name.rpartition("/")[2])
    writer.add_base_model_repo_url(0, f"https://huggingface.co/{base_name}")

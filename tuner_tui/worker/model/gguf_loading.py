"""Loads a GGUF file as a transformers model, including what transformers' own reader drops.

That reader (5.23) silently ignores tensors that it has no name for: `rope_freqs.weight`, which is Llama 3.1's and
3.2's rotary scaling, biases that its configuration does not expect, and the rotary scaling in the metadata. Such a
model answers short prompts almost correctly and long ones wrongly.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import gguf
import torch
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tuner_tui.errors import InputError
from tuner_tui.models.gguf_header import read_gguf

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

ROPE_FACTORS = "rope_freqs.weight"
"""Divisors of the rotary frequencies, (rotary width / 2)."""
SAFETENSORS_HINT = "Use the original model's folder or Hub name instead."
LLAMA3_FACTORS = (8.0, 32.0)
LLAMA3_CONTEXTS = (8192,)
"""What Llama 3.1 and 3.3 (factor 8), Llama 3.2 (factor 32) and their fine-tunes were trained with."""


def load_gguf_model(path: Path) -> PreTrainedModel:
    """The model of a GGUF file in fp32.

    Raises InputError when its rotary scaling cannot be restored, or when tensors of the file do not fit the model.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    _restore_rope(model.config, path)
    _require_every_parameter(model, path)
    return model


def _restore_rope(config: Any, path: Path) -> None:
    """Add the file's rotary scaling to the configuration, which transformers loads without it."""
    factors = next((tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == ROPE_FACTORS), None)
    if factors is None:
        return
    wanted = torch.from_numpy(factors.data.astype("float32").reshape(-1).copy())
    if torch.equal(wanted, torch.ones_like(wanted)):
        return
    plain = dict(config.rope_parameters)
    for factor, context in itertools.product(LLAMA3_FACTORS, LLAMA3_CONTEXTS):
        config.rope_parameters = {
            "rope_type": "llama3",
            "rope_theta": plain["rope_theta"],
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": context,
        }
        computed = llama3_factors(config)
        if computed.shape == wanted.shape and torch.allclose(computed, wanted, rtol=1e-4):
            return
    config.rope_parameters = plain
    raise InputError(
        "The GGUF file's rotary scaling cannot be read",
        f"{path}: {ROPE_FACTORS} is not the rotary scaling of Llama 3.1, 3.2 or 3.3.",
        SAFETENSORS_HINT,
    )


def llama3_factors(config: Any) -> Tensor:
    """Divisors of the rotary frequencies under llama3 scaling, (rotary width / 2), from transformers' frequencies."""
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    width = 2 * scaled.shape[0]
    plain = config.rope_parameters["rope_theta"] ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    factors: Tensor = (plain / scaled.double()).float()
    return factors


def _require_every_parameter(model: PreTrainedModel, path: Path) -> None:
    """Raise InputError if model and file differ in parameters: the others were dropped, or initialised randomly."""
    tensors = [tensor for tensor in read_gguf(path).tensors if not tensor.name.startswith("rope_")]
    in_file = sum(tensor.elements for tensor in tensors)
    in_model = model.num_parameters()
    if in_file == in_model:
        return
    raise InputError(
        "The GGUF file does not fit its architecture",
        f"{path} has {in_file:,} parameters; transformers loads a model with {in_model:,}. The others would be "
        "dropped, or random.",
        SAFETENSORS_HINT,
    )

"""Loading what is compared: the trained model as it was, and an export as somebody else would load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    GgufConfig,
)

from tuner_tui.errors import TunerError
from tuner_tui.worker.export.base_weights import DTYPES, BaseWeights
from tuner_tui.worker.export.gguf_shapes import TensorNames, find_shape, separate_rows
from tuner_tui.worker.loading import keep_trainable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

ROOM = 1.15
"""A model in fp32 needs so many times its weights to be read and asked."""


def load_model(location: Path, **options: Any) -> Any:
    """A model in fp32 arithmetic, on the GPU where it has room. Raises TunerError when memory would not hold it."""
    parameters = sum(
        entry.size_bytes // entry.dtype.itemsize for entry in BaseWeights(location).entries.values()
    )
    return AutoModelForCausalLM.from_pretrained(
        location, dtype=torch.float32, use_safetensors=True, device_map=_device(parameters), **options
    )


def load_trained(base: Path, adapter: Path | None, held: str, compute: str) -> Any:
    """The model that was trained, `held` as files (in fp32), nf4 or int8."""
    model = load_base(base, held, compute)
    return model if adapter is None else PeftModel.from_pretrained(model, str(adapter)).eval()


def scores_of(
    base: Path, adapter: Path, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[float]:
    """What a reward model's adapter and head give texts, on the base's own weights in fp32, by PEFT alone."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32, use_safetensors=True
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    tuned = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        return [float(tuned(**tokenizer(text, return_tensors="pt")).logits[0, 0]) for text in texts]


def load_base(base: Path, held: str, compute: str) -> Any:
    """A base as training held it; arithmetic in fp32, so that only its weights matter.

    A base held in 8 bits is given as its dequantised weights: its own arithmetic rounds what goes into each layer.
    """
    if held == "nf4":
        return _load_nf4(base, compute)
    model = load_model(base).eval()
    if held == "int8":
        weights = BaseWeights(base, "int8", compute)
        parameters = dict(model.named_parameters())
        for name in weights.entries.keys() & parameters.keys():
            parameters[name].data.copy_(weights.read(name))
    return model


def _load_nf4(base: Path, compute: str) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=DTYPES[compute],
        use_safetensors=True,
        device_map="cuda" if torch.cuda.is_available() else "cpu",
        quantization_config=BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    )
    keep_trainable(model)
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
            module.compute_type_is_set = True
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.__class__.__name__ != "Params4bit" and tensor.is_floating_point():
            tensor.data = tensor.data.float()
    return model.eval()


def load_gguf(file: Path, base: Path) -> Any:
    """A GGUF model through transformers' own reader, every weight dequantised to fp32.

    That reader does not know the factors of a llama3 rotary scaling; they are checked apart and taken from the base.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        device_map="cpu",
    )
    config = AutoConfig.from_pretrained(base)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def load_gguf_adapter(file: Path, base: Path, held: str, compute: str) -> Any:
    """A base with a GGUF adapter added to its weights as llama.cpp's formula says: alpha / rank * B A."""
    config = AutoConfig.from_pretrained(base)
    names = TensorNames(config, find_shape(config))
    reader = gguf.GGUFReader(file)
    alpha = float(reader.fields[gguf.Keys.Adapter.LORA_ALPHA].contents())
    tensors = {tensor.name: torch.from_numpy(tensor.data.copy()).float() for tensor in reader.tensors}
    model = load_model(base).eval()
    weights = BaseWeights(base, "files" if held not in ("nf4", "int8") else held, compute)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if weights.held != "files" and name in weights.entries:
            parameter.data.copy_(weights.read(name))
        if not name.endswith("_proj.weight"):
            continue
        found = names.find(name)
        if f"{found}.lora_a" in tensors:
            down, up = tensors.pop(f"{found}.lora_a"), tensors.pop(f"{found}.lora_b")
            up = separate_rows(up, names.heads_of(name))
            parameter.data.addmm_(
                up.to(parameter.device), down.to(parameter.device), alpha=alpha / down.shape[0]
            )
    if tensors:
        raise TunerError(
            "The GGUF adapter names what the base lacks", f"{next(iter(tensors))} fits no weight of {base}."
        )
    return model


def load_adapter_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's folder, by PEFT's names."""
    return load_file(folder / "adapter_model.safetensors")


def _device(parameters: int) -> str:
    """Where a model in fp32 has room. Raises TunerError when it has none."""
    import psutil

    needed = int(parameters * 4 * ROOM)
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > needed:
        return "cuda"
    available = psutil.virtual_memory().available
    if available < needed:
        raise TunerError(
            "Not enough memory to check the export",
            f"Reading it back needs {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free.",
            "Close what holds memory, or export on a machine with more; what is not checked is not called done.",
        )
    return "cpu"

"""Loads the models to compare: the trained model, and an export with the reader that its users have."""

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
from tuner_tui.worker.model.classes import language_model_class
from tuner_tui.worker.model.loading import keep_trainable, unpacking_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.runs.export_events import ExportRequest
    from tuner_tui.worker.export.rounds import Rounds
    from tuner_tui.worker.export.source import ExportSource

ROOM = 1.15
"""Memory to load and run a model, as a multiple of its weights."""


def choose_dtype(location: Path) -> torch.dtype:
    """The dtype to load a model in: fp32 if it fits in memory, else the 16-bit dtype of its files.

    Raises TunerError if neither fits: an export that cannot be verified is not written.
    """
    weights = BaseWeights(location)
    wide, own = _bytes(weights, torch.float32), files_dtype(weights)
    if _place(wide) is not None:
        return torch.float32
    if own is not None and _place(_bytes(weights, own)) is not None:
        return own
    raise _no_room(wide if own is None else _bytes(weights, own))


def dtype_for(request: ExportRequest, source: ExportSource) -> torch.dtype:
    """The dtype to run an export and the trained model in. Raises TunerError if neither fits in memory."""
    if request.form == "adapter" and source.trained_as == "nf4":  # loaded quantised both times
        return torch.float32
    return choose_dtype(source.base)


def files_dtype(weights: BaseWeights) -> torch.dtype | None:
    """The 16-bit dtype of all a model's files; None for other or mixed dtypes."""
    dtypes = {entry.dtype for entry in weights.outputs.values() if entry.dtype.is_floating_point}
    only = dtypes.pop() if len(dtypes) == 1 else None
    return only if only in (torch.bfloat16, torch.float16) else None


def load_model(location: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A model in a dtype, on the GPU if it fits there. Raises TunerError if it does not fit in memory."""
    weights = BaseWeights(location)
    needed = _bytes(weights, dtype)
    place = _place(needed)
    if place is None:
        raise _no_room(needed)
    kind, unpacking = language_model_class(weights.config), unpacking_config(weights.config)
    options = {} if unpacking is None else {"quantization_config": unpacking}
    model = kind.from_pretrained(location, dtype=dtype, use_safetensors=True, device_map=place, **options)
    return model if unpacking is None else model.to(dtype)  # it is unpacked to 16 bits, whatever dtype is set


def load_trained(
    base: Path, adapter: Path | None, precision: str, compute: str, dtype: torch.dtype = torch.float32
) -> Any:
    """The trained model, its base loaded from the files (in a dtype), as nf4 or as int8."""
    model = load_base(base, precision, compute, dtype)
    return model if adapter is None else PeftModel.from_pretrained(model, str(adapter)).eval()


def scores_of(
    base: Path,
    adapter: Path,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    rounds: Rounds,
) -> list[float]:
    """The scores that a reward model's adapter and head give texts, on the base's own weights, with PEFT alone."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=dtype, use_safetensors=True
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    tuned = PeftModel.from_pretrained(model, str(adapter)).eval()
    prompt_done, scores = rounds.begin("comparisons"), []
    with torch.no_grad():
        for text in texts:
            scores.append(float(tuned(**tokenizer(text, return_tensors="pt")).logits[0, 0]))
            prompt_done()
    return scores


def load_base(base: Path, precision: str, compute: str, dtype: torch.dtype = torch.float32) -> Any:
    """A base as loaded in training; computes in fp32 where memory allows, so that only its weights matter.

    An 8-bit base is loaded with its dequantised weights, since int8 matrix products round each layer's input.
    """
    if precision == "nf4":
        return _load_nf4(base, compute)
    model = load_model(base, dtype).eval()
    if precision == "int8":
        weights = BaseWeights(base, "int8", compute)
        parameters = dict(model.named_parameters())
        for name, live in weights.live.items():
            if live.name in parameters and live.conversion is None:
                parameters[live.name].data.copy_(weights.read(name))
        for conversion in weights.conversions.values():
            for name, value in weights.read_converted(conversion).items():
                if name in parameters:
                    parameters[name].data.copy_(value)
    return model


def _load_nf4(base: Path, compute: str) -> Any:
    model: Any = language_model_class(AutoConfig.from_pretrained(base)).from_pretrained(
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
    """A GGUF model loaded with transformers' own reader, every weight dequantised to fp32.

    That reader ignores the factors of llama3 rotary scaling; they are checked separately and taken from the base.
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


def load_gguf_lean(file: Path, base: Path, dtype: torch.dtype) -> Any:
    """A GGUF model loaded with the gguf library, which replaces the base's weights one at a time.

    transformers' reader keeps every weight in fp32 beside the model. Raises TunerError for missing weights.
    """
    config = AutoConfig.from_pretrained(base)
    names = TensorNames(config, find_shape(config))
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    model = load_model(base, dtype).eval()
    for name, parameter in model.named_parameters():
        tensor = tensors.get(names.find(name))
        if tensor is None:
            raise TunerError("The GGUF lacks a weight", f"{file.name} has no {names.find(name)}.")
        rows = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        parameter.data.copy_(separate_rows(rows, names.heads_of(name)).view_as(parameter))
    return model


def holds_whole_gguf(base: Path) -> bool:
    """Whether transformers' GGUF reader fits in memory: every weight in fp32 beside the model."""
    return _free_memory() >= 2 * _bytes(BaseWeights(base), torch.float32)


def load_gguf_adapter(
    file: Path, base: Path, precision: str, compute: str, dtype: torch.dtype = torch.float32
) -> Any:
    """A base with a GGUF adapter added to its weights by llama.cpp's formula: alpha / rank * B A."""
    config = AutoConfig.from_pretrained(base)
    names = TensorNames(config, find_shape(config))
    reader = gguf.GGUFReader(file)
    alpha = float(reader.fields[gguf.Keys.Adapter.LORA_ALPHA].contents())
    tensors = {tensor.name: torch.from_numpy(tensor.data.copy()).float() for tensor in reader.tensors}
    model = load_model(base, dtype).eval()
    weights = BaseWeights(base, "files" if precision not in ("nf4", "int8") else precision, compute)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if weights.precision != "files" and name in weights.by_live_name:
            parameter.data.copy_(weights.read(weights.by_live_name[name][0]))
        if not name.endswith("_proj.weight"):
            continue
        gguf_name = names.find(name)
        if f"{gguf_name}.lora_a" in tensors:
            down, up = tensors.pop(f"{gguf_name}.lora_a"), tensors.pop(f"{gguf_name}.lora_b")
            up = separate_rows(up, names.heads_of(name))
            change = torch.mm(up.to(parameter.device), down.to(parameter.device)) * (alpha / down.shape[0])
            parameter.data.copy_(parameter.data.float() + change)
    if tensors:
        raise TunerError(
            "The GGUF adapter does not fit the base", f"{next(iter(tensors))} fits no weight of {base}."
        )
    return model


def load_adapter_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors in an adapter's folder, by PEFT's names."""
    return load_file(folder / "adapter_model.safetensors")


def _bytes(weights: BaseWeights, dtype: torch.dtype) -> int:
    """Bytes needed to load and run a model in a dtype."""
    parameters = sum(entry.size_bytes // entry.dtype.itemsize for entry in weights.outputs.values())
    return int(parameters * dtype.itemsize * ROOM)


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _place(needed: int) -> str | None:
    """The device where this many bytes fit: cuda, cpu, or None."""
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > needed:
        return "cuda"
    return "cpu" if _free_memory() >= needed else None


def _no_room(needed: int) -> TunerError:
    return TunerError(
        "Not enough memory to verify the export",
        f"Loading it needs {needed / 1e9:.1f} GB, and {_free_memory() / 1e9:.1f} GB are free. An export that cannot "
        "be verified is not written unless that is asked for.",
        "Close programs that use memory, export the run to a larger machine (--as archive), or write it without "
        "verifying it: --skip verification",
    )

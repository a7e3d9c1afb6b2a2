"""Reads a base's weights from safetensors files, a tensor or a conversion at a time, as they were in training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import safe_open
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from tuner_tui.models.adapter import refuse_adapter_beside
from tuner_tui.models.model_folder import weight_files
from tuner_tui.worker.export.live_names import live_tensors
from tuner_tui.worker.model.classes import language_model_class
from tuner_tui.worker.model.loading import unpacking_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tuner_tui.worker.export.conversion import Conversion
    from tuner_tui.worker.export.live_names import LiveTensor

BasePrecision = Literal["files", "nf4", "int8"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
INT8_STEPS = 127
PACKED_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint8, torch.int8)
UNPACKED_DTYPE = torch.bfloat16
"""What MXFP4 and FP8 weights are unpacked to."""


@dataclass(frozen=True)
class TensorEntry:
    """File, shape and dtype of a tensor, read without its content."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class BaseWeights:
    """A model's folder; `precision` is that of the base in training, in which quantised weights are rounded."""

    def __init__(self, folder: Path, precision: BasePrecision = "files", compute: str = "fp32") -> None:
        self.folder, self.precision = folder, precision
        self._compute = DTYPES[compute]
        self.files = weight_files(folder)
        refuse_adapter_beside(folder)
        self.config = AutoConfig.from_pretrained(folder)

    @cached_property
    def entries(self) -> dict[str, TensorEntry]:
        """Every tensor by its name, in the files' order."""
        entries = {}
        for file in self.files:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a mapping
                    part = weights.get_slice(name)
                    entries[name] = TensorEntry(file, tuple(part.get_shape()), _dtype(part.get_dtype()))
        return entries

    @cached_property
    def skeleton(self) -> Any:
        """The model on the meta device, without memory for its weights; tells the kind of each module."""
        options = {"dtype": UNPACKED_DTYPE} if self.unpacker is not None else {}
        with torch.device("meta"):
            return language_model_class(self.config).from_config(self.config, **options)

    @property
    def still_packed(self) -> list[str]:
        """Packed tensors that the model does not load, so that they cannot be unpacked with it."""
        return [
            name
            for name, live in self.live.items()
            if not live.is_loaded and self.entries[name].dtype in PACKED_DTYPES
        ]

    @cached_property
    def unpacker(self) -> Any:
        """transformers' quantizer that unpacks MXFP4 or FP8 files; None for files that are plain."""
        unpacking = unpacking_config(self.config)
        if unpacking is None:
            return None
        stored = AutoHfQuantizer.merge_quantization_configs(self.config.quantization_config, unpacking)
        return AutoHfQuantizer.from_config(stored, pre_quantized=True)

    @cached_property
    def quantised(self) -> frozenset[str]:
        """Names, as in the loaded model, of the weights that a quantised base has quantised."""
        if self.precision == "files":
            return frozenset()
        unconverted = get_keys_to_not_convert(self.skeleton)
        return frozenset(
            f"{name}.weight"
            for name, module in self.skeleton.named_modules()
            if isinstance(module, (torch.nn.Linear, Conv1D)) and should_convert_module(name, unconverted)
        )

    @cached_property
    def live(self) -> dict[str, LiveTensor]:
        """Where each tensor stands in the loaded model."""
        return live_tensors(self.entries, self.skeleton, self.unpacker)

    @cached_property
    def conversions(self) -> dict[str, Conversion]:
        """What is not loaded value by value, nor as stacked experts, by the first tensor that it is loaded into."""
        return {
            live.conversion.first: live.conversion
            for live in self.live.values()
            if live.conversion is not None and live.expert is None
        }

    @cached_property
    def by_live_name(self) -> dict[str, list[str]]:
        """The tensors of the files that are loaded into one of the model's."""
        found: dict[str, list[str]] = {}
        for name, live in self.live.items():
            if live.is_loaded and live.name not in self.conversions:
                found.setdefault(live.name, []).append(name)
        for conversion in self.conversions.values():
            for loaded in conversion.loaded_names(self.entries):
                found[loaded] = conversion.names
        return found

    @cached_property
    def outputs(self) -> dict[str, TensorEntry]:
        """The tensors of a model of these weights, in the files' order: the same, but MXFP4 and FP8 unpacked."""
        if self.unpacker is None:
            return self.entries
        outputs: dict[str, TensorEntry] = {}
        for name, entry in self.entries.items():
            conversion = self.live[name].conversion
            if conversion is None:
                outputs[name] = entry
                continue
            dtype = (
                entry.dtype if len(conversion.parts) == 1 else UNPACKED_DTYPE
            )  # FP8 files have plain weights, too
            for saved, shape in conversion.saved_shapes(self.entries).items():
                outputs.setdefault(saved, TensorEntry(entry.file, shape, dtype))
        return outputs

    @cached_property
    def live_outputs(self) -> dict[str, LiveTensor]:
        """Where each tensor of `outputs` stands in the loaded model."""
        found = {name: live for name, live in self.live.items() if name in self.outputs}
        for conversion in self.conversions.values() if self.unpacker is not None else ():
            for name in conversion.saved_shapes(self.entries):
                found[name] = self.live[conversion.names[0]]
        return found

    def is_transposed(self, module: str) -> bool:
        """Whether a module stores its weight as (in, out), as GPT-2 does."""
        return isinstance(self.skeleton.get_submodule(module), Conv1D)

    def read_stored(self, name: str) -> Tensor:
        """A tensor of the files.

        The file is mapped for this one tensor only, so that earlier tensors do not stay in memory.
        """
        with safe_open(self.entries[name].file, framework="pt") as weights:
            value: Tensor = weights.get_tensor(name).clone()
        return value

    def read(self, name: str) -> Tensor:
        """A tensor as it was in training: the file's own values, or quantised and dequantised.

        What is converted when it is loaded is as in the files: `read_converted` gives its values in training.
        """
        value, live = self.read_stored(name), self.live[name]
        return value if live.conversion and live.expert is None else self._as_trained(live.name, value)

    def read_converted(self, conversion: Conversion) -> dict[str, Tensor]:
        """The loaded tensors of a conversion by name, as they were in training."""
        return self.convert(conversion, self.read_parts(conversion))

    def read_parts(self, conversion: Conversion) -> dict[str, Tensor]:
        """The tensors of the files that a conversion takes, by name."""
        return {name: self.read_stored(name) for name in conversion.names}

    def convert(self, conversion: Conversion, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is loaded from a conversion's tensors by name, as it was in training."""
        return {name: self._as_trained(name, value) for name, value in conversion.load(stored).items()}

    def _as_trained(self, live: str, value: Tensor) -> Tensor:
        if self.precision == "files" or not value.is_floating_point():
            return value
        if live not in self.quantised:  # embeddings and norms stand beside in the arithmetic's type
            return value.to(self._compute).to(value.dtype)
        is_transposed = self.is_transposed(live.removesuffix(".weight"))
        value = value.T.contiguous() if is_transposed else value
        value = quantise_and_back(value.to(self._compute), self.precision)
        return value.T.contiguous() if is_transposed else value


def quantise_and_back(weight: Tensor, precision: BasePrecision) -> Tensor:
    """A weight quantised by bitsandbytes to 4 bits (NF4, double quantisation) or 8 bits, and dequantised."""
    from bitsandbytes import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "nf4":
        packed, state = functional.quantize_4bit(
            weight.to(device), quant_type="nf4", compress_statistics=True
        )
        state.dtype = torch.float32  # it multiplies in fp32, whatever dtype the weight had
        back: Tensor = functional.dequantize_4bit(packed, state)
        return back.cpu()
    steps, largest, _ = functional.int8_vectorwise_quant(weight.to(device).half())
    dequantised: Tensor = steps.float() * (largest.float() / INT8_STEPS)[:, None]
    return dequantised.to(weight.dtype).cpu()


def _dtype(name: str) -> torch.dtype:
    return {
        "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
        "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
        "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    }[name]  # fmt: skip

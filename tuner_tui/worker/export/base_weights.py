"""Reads a base's weights one at a time from safetensors files, with the values that they had in training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import safe_open
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from tuner_tui.models.adapter import refuse_adapter_beside
from tuner_tui.models.model_folder import weight_files
from tuner_tui.worker.export.live_names import live_tensors
from tuner_tui.worker.model.classes import language_model_class

if TYPE_CHECKING:
    from torch import Tensor

    from tuner_tui.worker.export.live_names import LiveTensor

BasePrecision = Literal["files", "nf4", "int8"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
INT8_STEPS = 127


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
        with torch.device("meta"):
            return language_model_class(self.config).from_config(self.config)

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
        return live_tensors(self.entries, self.skeleton)

    @cached_property
    def by_live_name(self) -> dict[str, list[str]]:
        """The tensors of the files that are loaded into one of the model's."""
        found: dict[str, list[str]] = {}
        for name, live in self.live.items():
            found.setdefault(live.name, []).append(name)
        return found

    def is_transposed(self, module: str) -> bool:
        """Whether a module stores its weight as (in, out), as GPT-2 does."""
        return isinstance(self.skeleton.get_submodule(module), Conv1D)

    def read(self, name: str) -> Tensor:
        """A tensor as it was in training: the file's own values, or quantised and dequantised.

        The file is mapped for this one tensor only, so that earlier tensors do not stay in memory.
        """
        entry = self.entries[name]
        with safe_open(entry.file, framework="pt") as weights:
            value: Tensor = weights.get_tensor(name).clone()
        if self.precision == "files" or not value.is_floating_point():
            return value
        live = self.live[name].name
        if live not in self.quantised:  # embeddings and norms stand beside in the arithmetic's type
            return value.to(self._compute).to(entry.dtype)
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

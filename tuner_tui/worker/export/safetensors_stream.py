"""Writes a safetensors file tensor by tensor; the library's own writer needs all tensors in memory."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import Tensor

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
ALIGNMENT = 8


def write_safetensors(
    path: Path,
    layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    tensors: Iterable[tuple[str, Tensor]],
) -> None:
    """Write a file from its layout (name: shape and type, in file order) and the tensors in that same order.

    The format (header length as 8 bytes, JSON header, data): https://huggingface.co/docs/safetensors.
    Raises ValueError when a tensor does not fit the layout, OSError when writing fails.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, dtype) in layout.items():
        start, end = end, end + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    waiting = iter(layout.items())
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, tensor in tensors:
            expected, (shape, dtype) = next(waiting)
            if name != expected or tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise ValueError(
                    f"{path.name}: {name} {tuple(tensor.shape)} {tensor.dtype} where {expected} {shape} {dtype} belongs"
                )
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
    if (missing := next(waiting, None)) is not None:
        raise ValueError(f"{path.name}: {missing[0]} is missing")

"""The header of a safetensors file: its tensors, checked against the file's size."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit; larger headers are rejected."""

DTYPE_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
_AGAIN = "Download the file again, then compare its size with the original's."


@dataclass(frozen=True)
class SafetensorsTensor:
    """One tensor, as the header describes it."""

    dtype: str
    elements: int
    size_bytes: int
    shape: tuple[int, ...] = ()
    offset: int = 0
    """Of its first byte, after the header."""


def read_safetensors(path: Path) -> dict[str, SafetensorsTensor]:
    """The tensors of a file; raises InputError when the file is truncated or its header is wrong."""
    with guarded.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        refuse_lfs_pointer(path, start)
        if len(start) < 8:
            raise InputError(
                "Model file is truncated", f"{path} has only {size} bytes, too few for a header.", _AGAIN
            )
        length = header_length(str(path), start)
        if 8 + length > size:
            short = 8 + length - size
            raise InputError(
                "Model file is truncated", f"{path} ends inside its header, {short:,} bytes early.", _AGAIN
            )
        raw = file.read(length)
    return parse_header(str(path), raw, size)


def parse_header(path: str, raw: bytes, size: int | None) -> dict[str, SafetensorsTensor]:
    """The tensors that a header (without its 8 bytes of length) describes, for a file of `size` bytes.

    With an unknown size (None), only the header itself is checked. Raises InputError, naming `path`.
    """
    length = len(raw)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise _invalid(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _invalid(path, "its header is not a JSON object")
    spans = {name: _span(path, name, entry) for name, entry in header.items() if name != "__metadata__"}
    end = 0
    for name, (first, last, _) in sorted(spans.items(), key=lambda span: span[1][:2]):
        if first != end:
            raise _invalid(path, f"the data of {name!r} starts at byte {first:,} instead of {end:,}")
        end = last
    if size is not None and (short := 8 + length + end - size):
        what = f"is {short:,} bytes short of" if short > 0 else f"is {-short:,} bytes longer than"
        title = "Model file is truncated" if short > 0 else "Model file is damaged"
        raise InputError(title, f"{path} {what} the {8 + length + end:,} its header describes.", _AGAIN)
    return {name: tensor for name, (_, _, tensor) in spans.items()}


def header_length(path: str, start: bytes) -> int:
    """The length of the header, from a file's first 8 bytes; raises InputError above the format's limit."""
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise _invalid(path, f"its header has {length:,} bytes; the limit is 100 MB")
    return length


def refuse_lfs_pointer(path: Path | str, start: bytes) -> None:
    """Raise InputError for a Git LFS pointer, which git leaves instead of a file without git-lfs."""
    if start.startswith(b"version "):
        raise InputError(
            "Only a Git LFS pointer",
            f"{path} refers to the file, but is not the file itself.",
            "Install git-lfs and run `git lfs pull` in that folder.",
        )


def _invalid(path: Path | str, what: str) -> InputError:
    return InputError("Not a valid safetensors file", f"{path}: {what}.", "Download it again.")


def _span(path: str, name: str, entry: Any) -> tuple[int, int, SafetensorsTensor]:
    """The start and end of a tensor's data, if its entry is plausible."""
    try:
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [first, last, *shape]
    except (KeyError, TypeError, ValueError):
        raise _invalid(path, f"the entry of {name!r} lacks dtype, shape or data_offsets") from None
    if not all(type(number) is int and number >= 0 for number in numbers) or last < first:
        raise _invalid(path, f"the entry of {name!r} has impossible values")
    elements = math.prod(shape)
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is not None and (last - first) * 8 != elements * bits:
        raise _invalid(path, f"{name!r} needs {elements * bits // 8:,} bytes but has {last - first:,}")
    if bits is None and elements > 8 * (last - first):
        raise _invalid(path, f"{name!r} has {elements:,} values in {last - first:,} bytes")
    return first, last, SafetensorsTensor(str(dtype), elements, last - first, tuple(shape), first)

"""A GPU that is not in this machine, given by its advertised memory: what would fit there."""

from __future__ import annotations

import re

from tuner_tui.errors import InputError
from tuner_tui.planning.place import Place

GIB = 1 << 30
DRIVER_BYTES = round(0.4 * GIB)
"""Memory reserved by a GPU's driver."""
HELD_BACK = 1 / 16
"""The share of an advertised size that drivers and error correction may reserve: an L4 with 24 GB has 22.5 GiB, a T4
with 16 GB has 15 GiB."""
COMMON_GPUS = {
    "6 GB": "GTX 1660, RTX 2060",
    "8 GB": "RTX 3060 Ti, 3070, 4060, 5060",
    "10 GB": "RTX 3080",
    "12 GB": "RTX 3060, 4070, 5070",
    "16 GB": "RTX 4060 Ti, 4080, 5080, T4",
    "24 GB": "RTX 3090, 4090, L4, A10",
    "32 GB": "RTX 5090",
    "48 GB": "RTX A6000, L40S",
    "80 GB": "A100, H100",
    "141 GB": "H200",
}
"""Advertised sizes, and GPUs that have them, some in other sizes too."""
_GPU = re.compile(r"(\d+(?:\.\d+)?)\s*(gi?b?)?", re.IGNORECASE)
_NAMED_GPU = re.compile(r"(?:^|\s|(?<=\w)-)(\d+(?:\.\d+)?)\s*(gi?b)\b", re.IGNORECASE)


def parse_gpu(text: str) -> int:
    """A GPU's usable bytes, from text such as "24GB", "RTX 3060 12GB" or "22.5GiB". Raises InputError.

    A size in GB is the advertised one, of which a part is reserved; GiB are exact.
    """
    words = text.strip()
    match = _GPU.fullmatch(words) or _NAMED_GPU.search(words)
    size = float(match[1]) if match else 0.0
    if not match or not 0.5 <= size <= 2000:
        raise InputError(
            "Not a memory size",
            f"{text!r} is not a memory size of a GPU.",
            'Use a size from 0.5 to 2000 GB, such as "24GB".',
        )
    is_exact = (match[2] or "").lower() in ("gi", "gib")
    return round(size * GIB * (1 if is_exact else 1 - HELD_BACK))


def gpu_of(text: str) -> Place:
    """The place that a GPU of this memory would be, with nothing else on it. Raises InputError."""
    size = parse_gpu(text)
    name = f"a GPU given as {text.strip()}, counted as {size / GIB:.4g} GiB"
    return Place(True, name, size - DRIVER_BYTES, size)

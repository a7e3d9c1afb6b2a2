"""A digest of a base's weights from samples of its files: quick, and the same for other shards or places."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tuner_tui import guarded
from tuner_tui.errors import InputError
from tuner_tui.models.model_folder import weight_files
from tuner_tui.models.safetensors_header import SafetensorsTensor, header_length, read_safetensors

SAMPLE_BYTES = 1024
MOST_SAMPLES = 512
"""Samples of a base's weights. Training and merging change all values of a matrix, so few of each are enough."""
DIGITS = 32


def weights_digest(base: Path | None) -> str:
    """The digest of a model's folder or GGUF file; empty for none, and where the weights cannot be read.

    It depends on the tensors' names, dtypes, shapes and sampled values: weights in another dtype are others.
    """
    try:
        if base is None or not base.exists():
            return ""
        return (_of_folder(base) if base.is_dir() else _of_file(base))[:DIGITS]
    except (InputError, OSError, ValueError):
        return ""


def _of_folder(folder: Path) -> str:
    found = [
        (name, tensor, path)
        for path in weight_files(folder)
        for name, tensor in read_safetensors(path).items()
    ]
    found.sort(key=lambda each: each[0])
    digest = hashlib.sha256()
    every = -(-len(found) // MOST_SAMPLES) or 1
    for place, (name, tensor, path) in enumerate(found):
        digest.update(repr((name, tensor.dtype, tensor.shape)).encode())
        if place % every == 0:
            digest.update(_sample(path, tensor))
    return digest.hexdigest()


def _sample(path: Path, tensor: SafetensorsTensor) -> bytes:
    """Bytes from the middle of a tensor."""
    with guarded.open_regular(path) as file:
        start = 8 + header_length(str(path), file.read(8)) + tensor.offset
        size = min(SAMPLE_BYTES, tensor.size_bytes)
        return os.pread(file.fileno(), size, start + (tensor.size_bytes - size) // 2)


def _of_file(path: Path) -> str:
    """Of a file in one piece, such as GGUF: its size and samples of it at even distances."""
    digest = hashlib.sha256()
    with guarded.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        for place in range(MOST_SAMPLES):
            digest.update(os.pread(file.fileno(), SAMPLE_BYTES, size * place // MOST_SAMPLES))
    return digest.hexdigest()

"""Reads a GGUF file's header once while transformers loads it.

transformers 5.23 makes a new reader for the tokenizer, the configuration and the weights, and a table of tensor names
for each module of the model; gguf 0.19's reader takes each of some 150,000 strings through numpy's memory maps. For a
model of 92 MB these are 35 of 40 seconds, and nothing in them differs from one time to the next.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
    """gguf's reader, over a plain view of the mapped file: slices of `numpy.memmap` cost several times as much."""

    @property
    def data(self) -> Any:
        """The file's bytes."""
        return self._plain

    @data.setter
    def data(self, mapped: np.memmap[Any, Any]) -> None:
        self._plain = np.asarray(mapped)


@contextmanager
def read_once() -> Iterator[None]:
    """While it lasts, gguf gives transformers the same reader and the same names again for the same file."""
    reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map

    @lru_cache(maxsize=1)
    def read(path: str) -> PlainReader:
        return PlainReader(path)

    def reader_of(path: os.PathLike[str] | str) -> PlainReader:
        return read(str(path))

    gguf.GGUFReader = reader_of
    gguf.get_tensor_name_map = cache(name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, name_map

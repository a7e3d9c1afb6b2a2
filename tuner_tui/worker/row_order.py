"""The order in which rows are trained, fixed by seed and epoch alone, so that a resumed run goes on in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class GroupedByLength(LengthGroupedSampler):
    """Rows of like length stand together. Transformers' own sampler draws from the global generator instead."""

    def __init__(self, batch_size: int, lengths: Sequence[int], seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths))
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        indices: list[int] = get_length_grouped_indices(  # type: ignore[no-untyped-call]
            self.lengths, self.batch_size, generator=generator
        )
        return iter(indices)

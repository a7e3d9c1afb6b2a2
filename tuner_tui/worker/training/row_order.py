"""The order in which rows are trained, fixed by seed and epoch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import SequentialSampler
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_Trainer: Any = object  # the real base comes from the class that these are mixed into


class GroupedByLength(LengthGroupedSampler):
    """Rows grouped by length. transformers' own sampler would use the global random state."""

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


class OrderedRows(_Trainer):  # type: ignore[misc]
    """A mixin for transformers' Trainer: a resumable row order, also when grouped by length."""

    length_columns: tuple[str, ...] = ("input_ids",)
    """The columns whose maximum is a row's length."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        columns = [self.train_dataset[name] for name in self.length_columns]
        lengths = [max(map(len, row)) for row in zip(*columns, strict=True)]
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return GroupedByLength(batch, lengths, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        """In order. transformers would group these, by a column that pairs lack, with the global random state."""
        return SequentialSampler(eval_dataset)

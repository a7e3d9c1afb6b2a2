"""The order in which rows are trained, fixed by seed and epoch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner_tui.worker.job import Job

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


class SortedInSteps(Sampler[int]):
    """Rows in random order, those of each optimizer step sorted by length, so that micro-batches have less padding.

    The order is that of accelerate 1.15's SeedableRandomSampler, so that each step has the same rows as without.
    """

    def __init__(self, batch_size: int, lengths: Sequence[int], seed: int) -> None:
        self._batch_size, self._lengths, self._seed = batch_size, lengths, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        for start in range(0, len(order), self._batch_size):
            yield from sorted(
                order[start : start + self._batch_size], key=lambda row: self._lengths[row], reverse=True
            )


class OrderedRows(_Trainer):  # type: ignore[misc]
    """A mixin for transformers' Trainer: a resumable row order, also when grouped or sorted by length."""

    job: Job

    length_columns: tuple[str, ...] = ("input_ids",)
    """The columns whose maximum is a row's length."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        memory = self.job.plan.memory
        is_grouped = self.args.train_sampling_strategy == "group_by_length"
        if not is_grouped and (memory is None or not memory.is_sorted):
            return super()._get_train_sampler(train_dataset)
        columns = [self.train_dataset[name] for name in self.length_columns]
        lengths = [max(map(len, row)) for row in zip(*columns, strict=True)]
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        kind = GroupedByLength if is_grouped else SortedInSteps
        return kind(batch, lengths, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        """In order. transformers would group these, by a column that pairs lack, with the global random state."""
        return SequentialSampler(eval_dataset)

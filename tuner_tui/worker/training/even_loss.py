"""Each row, and each token with loss, counts the same, in whatever micro-batches they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from tuner_tui.worker.text.tokenised import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_Trainer: Any = object  # transformers' own comes with the class that these are mixed into


class Size(NamedTuple):
    """How much of each thing a batch has that a mean is taken over."""

    rows: int
    tokens: int
    """Those that a mean over tokens is taken over."""


class EvenEvaluation(_Trainer):  # type: ignore[misc]
    """A mixin for transformers' Trainer: the held-out loss does not depend on the micro-batch.

    Transformers takes the mean over batches, and TRL that of each metric. Here a batch counts with its rows or, where
    the loss is a mean over tokens, with its tokens: the sum of all losses over the count of all that have one.
    """

    _batch_losses: list[float]
    _batch_sizes: list[Size]

    def size_of(self, batch: dict[str, Any]) -> Size:
        """A batch's size. Here of labels, such as those of supervised fine-tuning."""
        labels = batch["labels"]
        return Size(len(labels), int((labels[..., 1:] != IGNORED).sum()))

    def weight_of(self, size: Size) -> int:
        """What a batch's loss counts."""
        return size.tokens

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        size = self.size_of(inputs)
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        self._batch_losses.append(float(loss))
        self._batch_sizes.append(size)
        return loss, logits, labels

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        self._batch_losses, self._batch_sizes = [], []
        has_router_loss = getattr(self, "aux_loss_enabled", False)
        if has_router_loss:  # a mean over a micro-batch, and no loss on what is held out
            self.aux_loss_enabled = False
        try:
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        finally:
            if has_router_loss:
                self.aux_loss_enabled = True
        weights = [self.weight_of(size) for size in self._batch_sizes]
        output.metrics[f"{metric_key_prefix}_loss"] = weighted_mean(self._batch_losses, weights)
        for metrics in (getattr(self, "_metrics", None), getattr(self, "_stored_metrics", None)):
            for values in (metrics or {}).get("eval", {}).values():
                if len(values) == len(weights):
                    values[:] = [weighted_mean(values, weights)]
        return output


class EvenRows(EvenEvaluation):
    """A mixin for transformers' Trainer: each row counts the same, also where a step's micro-batches are uneven.

    A trainer that takes the mean over each micro-batch, and then over those of a step, gives the rows of a smaller last
    one more than their share; each micro-batch's loss is weighted by rows x micro-batches / all rows of the step. A
    part of the loss that is a mean over tokens is weighted by `token_share` besides.
    """

    _whole: tuple[Size, ...] = ()
    """Of each micro-batch of the step, or of each batch of the evaluation, under way."""

    def has_token_mean(self) -> bool:
        """Whether a part of the loss is a mean over tokens, so that all of an evaluation's are counted before it."""
        return False

    def size_of(self, batch: dict[str, Any]) -> Size:
        return Size(next(len(value) for value in batch.values() if isinstance(value, torch.Tensor)), 0)

    def weight_of(self, size: Size) -> int:
        return size.rows

    def token_share(self, batch: dict[str, Any]) -> float:
        """What a mean over a batch's tokens is multiplied by, so that batches that count by rows count by tokens.

        It is tokens per row of the batch, over tokens per row of the whole step or evaluation.
        """
        size = self.size_of(batch)
        rows, tokens = (sum(counts) for counts in zip(*self._whole, strict=True))
        return size.tokens / size.rows / (tokens / rows) if tokens else 1.0

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._whole = tuple(map(self.size_of, batches))
        return batches, items

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        rows = self.size_of(inputs).rows
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        all_rows = [size.rows for size in self._whole]
        if not model.training or len(set(all_rows)) <= 1:
            return loss
        return loss * (rows * len(all_rows) / sum(all_rows))

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        if self.has_token_mean():
            self._whole = tuple(map(self.size_of, dataloader))
        return super().evaluation_loop(dataloader, *args, **kwargs)


def weighted_mean(values: Sequence[float], weights: Iterable[float]) -> float:
    """The mean of values by weight; NaN without any weight."""
    weights = list(weights)
    whole = sum(weights)
    if not whole:
        return float("nan")
    return sum(value * weight for value, weight in zip(values, weights, strict=True) if weight) / whole

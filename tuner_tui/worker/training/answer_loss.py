"""Supervised fine-tuning's loss on a CPU: logits of the tokens with loss alone, and no entropy.

TRL 1.16 scores every position where its Triton kernels do not run, and computes an entropy for the log besides.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.planning.head import most_answer_tokens
from tuner_tui.worker.text.tokenised import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOOKING = threading.Lock()
_selected = threading.local()
_Trainer: Any = object  # TRL's own comes with the class that this is mixed into


class AnswerLoss(_Trainer):  # type: ignore[misc]
    """A mixin for TRL's SFTTrainer: the mean negative log-likelihood of labels, in nats, as TRL has it.

    Held-out loss, micro-batches with more labels than `most_answer_tokens`, and models with a router's loss take TRL's
    own path, which computes the logits in tiles.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs["labels"][:, 1:]
        has_loss = labels != IGNORED
        wanted = int(has_loss.sum())
        if return_outputs or not self._is_scored_here(model, labels, wanted):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with only_positions(self._head(), has_loss):
            passed = {name: value for name, value in inputs.items() if name != "labels"}
            logits = model(**passed, use_cache=False).logits.float()
        targets = labels[has_loss]
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        whole = wanted if num_items_in_batch is None else num_items_in_batch
        self._metrics["train"]["mean_token_accuracy"].append(
            float((logits.detach().argmax(-1) == targets).float().mean())
        )
        self._total_train_tokens += _count_tokens(inputs)
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss / whole

    def _is_scored_here(self, model: Any, labels: torch.Tensor, wanted: int) -> bool:
        return (
            labels.device.type == "cpu"
            and model.training
            and not self.aux_loss_enabled
            and 0 < wanted <= most_answer_tokens(self._head().weight.shape[0])
        )

    def _head(self) -> Any:
        """The output layer, also one that PEFT adapts."""
        return self.accelerator.unwrap_model(self.model).get_output_embeddings()


@contextmanager
def only_positions(head: torch.nn.Module, has_loss: torch.Tensor) -> Iterator[None]:
    """In this thread, hand the output layer those positions alone, (labels, hidden), whose next token has loss."""
    with _HOOKING:  # another thread may be running the layer, so a hook is added once and stays
        if _select not in head._forward_pre_hooks.values():
            head.register_forward_pre_hook(_select)
    _selected.has_loss = has_loss
    try:
        yield
    finally:
        _selected.has_loss = None


def _select(_: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    has_loss = getattr(_selected, "has_loss", None)
    return None if has_loss is None else (given[0][:, :-1][has_loss], *given[1:])


def _count_tokens(inputs: dict[str, Any]) -> int:
    """Tokens without padding."""
    mask = inputs.get("attention_mask")
    return int(mask.sum()) if mask is not None else inputs["input_ids"].numel()

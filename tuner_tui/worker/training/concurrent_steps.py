"""Computes a step's micro-batches at the same time on a CPU, each with its own threads.

Matrix products of a few hundred tokens gain little from a second thread, while two micro-batches on two threads take
hardly longer than one. Each micro-batch's loss and gradients are those of the trainer's own `training_step`; gradients
are added in the order of the micro-batches, so that neither timing nor their number at a time changes a bit of them.
"""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_Trainer: Any = object  # the trainer's own class comes with the class that this is mixed into
METRICS = ("_metrics", "_stored_metrics")
"""Where TRL's trainers keep a step's metrics: by mode and name, a list with one value for each micro-batch."""
COUNTS = ("_total_train_tokens", "_tokens")
COUNTED = "num_tokens"
"""The metric that is a count so far and no mean."""
_log = logging.getLogger(__name__)


class ConcurrentSteps(_Trainer):  # type: ignore[misc]
    """A mixin for transformers' Trainer. With `concurrent` = 1 it is the trainer as it is."""

    concurrent = 1
    """How many micro-batches are computed at a time."""
    threads_each = 1
    """Threads that each of them computes with."""
    reference_names: tuple[str, ...] = ()
    """What the reference's log-probabilities are called in a micro-batch, in the order in which TRL computes them."""
    _batches: Sequence[dict[str, Any]] = ()
    _computed: dict[int, torch.Tensor] | None = None
    """By the micro-batch's place in the step, once all of them are computed."""
    _place = 0
    _pool: ThreadPoolExecutor | None = None

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        batches, items = super().get_batch_samples(*arguments, **named)
        self._batches, self._computed, self._place = batches, None, 0
        return batches, items

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        if self.concurrent < 2 or len(self._batches) < 2:
            alone: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return alone
        if self._computed is None:
            self._computed = dict(enumerate(self.compute_all(model, self._batches, num_items_in_batch)))
        self._place += 1
        loss: torch.Tensor = self._computed.pop(self._place - 1)
        return loss

    def compute_all(
        self, model: Any, batches: Sequence[dict[str, Any]], num_items_in_batch: Any = None
    ) -> list[torch.Tensor]:
        """The losses of all micro-batches of a step; their gradients are added to the parameters'."""
        parameters = [each for each in model.parameters() if each.requires_grad]
        parts = [_Part(self, parameters) for _ in batches]
        losses = self._losses_of(model, batches, parts, num_items_in_batch)
        for part in parts:
            part.add_to(self, parameters)
        return losses

    def look_at_gradients(
        self, model: Any, batches: Sequence[dict[str, Any]], concurrent: int
    ) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        """(losses, gradients) of micro-batches, so many at a time. Changes no gradients, metrics or counts."""
        parameters = [each for each in model.parameters() if each.requires_grad]
        view: Any = copy.copy(self)
        view._pool, view.concurrent = None, concurrent
        view.current_gradient_accumulation_steps = len(batches)
        if hasattr(view, "_whole"):
            view._whole = tuple(map(view.size_of, batches))
        parts = [_Part(view, parameters) for _ in batches]
        try:
            losses = view._losses_of(model, batches, parts, None)
        finally:
            if view._pool is not None:
                view._pool.shutdown()
        return losses, [gradient for part in parts for gradient in part.accelerator.gradients]

    def _losses_of(
        self, model: Any, batches: Sequence[dict[str, Any]], parts: Sequence[_Part], num_items_in_batch: Any
    ) -> list[torch.Tensor]:
        inputs = [self._prepare_inputs(batch) for batch in batches]
        model.train()
        references = self._references(model, inputs)

        def compute(place: int) -> torch.Tensor:
            trainer = parts[place].trainer
            given = {**inputs[place], **references[place]}
            if references[place]:
                trainer.precompute_ref_logps = True
            loss: torch.Tensor = super(ConcurrentSteps, trainer).training_step(
                model, given, num_items_in_batch
            )
            return loss

        return self._each(compute, len(batches))

    def _references(self, model: Any, inputs: Sequence[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
        """By micro-batch, what the reference says of it; nothing where the trainer does without or has it already.

        Trainers switch the adapter off for the reference, in the model that all threads compute with; so this is done
        once for all micro-batches, before the policy is computed.
        """
        if not needs_reference(self):
            return [{} for _ in inputs]
        plain = self.accelerator.unwrap_model(self.model)
        parts = [copy.copy(self) for _ in inputs]
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(
                disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
            )
            if self.ref_model is None:
                name = "ref" if "ref" in plain.peft_config else None
                stack.enter_context(use_adapter(plain, adapter_name=name))
                for part in parts:
                    part.ref_model = self.model  # so that it leaves the adapter as it is

            def compute(place: int) -> dict[str, torch.Tensor]:
                part = parts[place]
                found = part.compute_ref_log_probs(part.ref_model, inputs[place])
                named = zip(self.reference_names, found, strict=True)
                return {name: values for name, values in named if values is not None}

            return self._each(compute, len(inputs))

    def _each(self, compute: Callable[[int], Any], count: int) -> list[Any]:
        """What `compute` gives for each place; every call has ended before the first error is raised."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                self.concurrent,
                "micro-batch",
                initializer=torch.set_num_threads,
                initargs=(self.threads_each,),
            )
        futures = [self._pool.submit(compute, place) for place in range(count)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]


class _Part:
    """A view of a trainer for one micro-batch, with its own gradients, metrics and counts."""

    def __init__(self, trainer: Any, parameters: Iterable[torch.nn.Parameter]) -> None:
        self.trainer = copy.copy(trainer)
        self.accelerator = _KeepsGradients(self.trainer, list(parameters))
        self.trainer.accelerator = self.accelerator
        for name in METRICS:
            if hasattr(trainer, name):
                setattr(self.trainer, name, {mode: defaultdict(list) for mode in ("train", "eval")})
        for name in COUNTS:
            if hasattr(trainer, name):
                setattr(self.trainer, name, 0)

    def add_to(self, trainer: Any, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add gradients, metrics and counts to those of the trainer."""
        for parameter, gradient in zip(parameters, self.accelerator.gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient.clone()  # autograd may give one tensor for two parameters
            else:
                parameter.grad += gradient
        self.accelerator.gradients = ()
        for name in COUNTS:
            if hasattr(trainer, name):
                setattr(trainer, name, getattr(trainer, name) + getattr(self.trainer, name))
        for name in METRICS:
            for mode, metrics in getattr(self.trainer, name, {}).items():
                for metric, values in metrics.items():
                    if metric == COUNTED:
                        getattr(trainer, name)[mode][metric] = [trainer._total_train_tokens]
                    else:
                        getattr(trainer, name)[mode][metric].extend(values)


class _KeepsGradients:
    """An accelerator whose backward pass keeps the gradients instead of adding them to the parameters'."""

    def __init__(self, trainer: Any, parameters: list[torch.nn.Parameter]) -> None:
        self._accelerator, self._profiler = trainer.accelerator, trainer.profiler
        self._parameters = parameters
        self.gradients: Sequence[torch.Tensor | None] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)

    def backward(self, loss: torch.Tensor, **_: Any) -> None:
        """The gradients of a loss, as accelerate's Accelerator scales it."""
        scaled = loss / self._accelerator.gradient_accumulation_steps
        with nullcontext() if self._profiler is None else self._profiler.part("backward"):
            self.gradients = torch.autograd.grad(scaled, self._parameters, allow_unused=True)


def needs_reference(trainer: Any) -> bool:
    """Whether each step computes a reference in the model that is trained, or in a second one."""
    return hasattr(trainer, "compute_ref_log_probs") and not trainer.precompute_ref_logps

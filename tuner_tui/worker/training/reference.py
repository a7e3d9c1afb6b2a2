"""The frozen reference of a run that starts from an adapter: a whole copy of it, and a first loss that shows it.

TRL (1.16.0) copies the adapter `default` to `ref` by names that contain ".default.", so that weights whose names end in
".default" (IA3's and VeRA's vectors, trained token rows) keep their initial values in the copy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

from tuner_tui.errors import TunerError
from tuner_tui.worker.model.same_logits import rounding_in
from tuner_tui.worker.training.checkpoints import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

_Trainer: Any = object  # transformers' own comes with the class that this is mixed into
TOKEN_NOISE = {"exact": 1e-3, "16 bit": 0.1, "int8": 0.3}
"""By how a model rounds, how far apart two computations of a token's log-probability may lie."""
PLAIN_DPO_LOSSES = {"sigmoid": math.log(2), "hinge": 1.0, "robust": math.log(2), "sigmoid_norm": math.log(2)}
"""DPO's losses while policy and reference are the same model, where that does not depend on beta."""


def adapter_state(model: Any, name: str = "default") -> dict[str, torch.Tensor]:
    """Copies of all tensors of an adapter in main memory, by their names in its file."""
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {key: tensor.detach().to("cpu", copy=True) for key, tensor in state.items()}


def copy_to_reference(model: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Give the frozen copy all tensors of the start adapter. Raises TunerError if they are not there afterwards."""
    set_peft_model_state_dict(model, dict(state), adapter_name=REFERENCE)
    copied = adapter_state(model, REFERENCE)
    others = sorted(state.keys() ^ copied.keys()) or [
        key for key, tensor in state.items() if not torch.equal(copied[key].float(), tensor.float())
    ]
    if others:
        raise TunerError(
            "The reference is not the adapter that the run starts from",
            f"PEFT did not copy {others[0]}" + (f" and {len(others) - 1} more" if others[1:] else "") + ".",
            "Use a method without a reference, or start without model.adapter.",
        )


class WholeReference(_Trainer):  # type: ignore[misc]
    """A mixin for TRL's trainers with a reference: its copy of the start adapter is whole before it is used.

    `start_adapter` has the tensors of the adapter that the run starts from; none for other runs.
    """

    def __init__(self, *args: Any, start_adapter: Mapping[str, torch.Tensor], **named: Any) -> None:
        self._start_adapter = start_adapter
        super().__init__(*args, **named)
        self._complete_reference()
        self._start_adapter = {}

    def _precompute_ref_logps(self, *args: Any, **named: Any) -> Any:
        """TRL's, which runs while the trainer is built."""
        self._complete_reference()
        return super()._precompute_ref_logps(*args, **named)

    def _complete_reference(self) -> None:
        if self._start_adapter and REFERENCE in getattr(self.model, "peft_config", {}):
            copy_to_reference(self.model, self._start_adapter)


def require_first_loss(trainer: Any) -> None:
    """Raise TunerError when policy and reference differ before the first step, as the first loss shows.

    Before it all rewards are zero; DPO's sigmoid loss is then ln 2, KTO's half the weights of its rows. Called while
    dropout is off. Changes no weights, metrics or random states.
    """
    if not isinstance(trainer, WholeReference):
        return
    count = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
    batch = trainer._prepare_inputs(
        trainer.data_collator([dict(trainer.train_dataset[place]) for place in range(count)])
    )
    loss, metrics = _first_loss(trainer, batch)
    rewards = [metrics[name] for name in ("rewards/chosen", "rewards/rejected") if name in metrics]
    tokens = int(batch["completion_mask"].sum(-1).max())
    limit = max(1e-5, trainer.beta * TOKEN_NOISE[rounding_in(trainer)] * math.sqrt(tokens))
    expected = _loss_of_equals(trainer, batch)
    is_off = any(not abs(reward) <= limit for reward in rewards)
    if not is_off and (expected is None or abs(loss - expected) <= max(limit, 1e-4)):
        return
    shown = f", where {expected:.4f} is the loss of equal models" if expected is not None else ""
    raise TunerError(
        "The reference is not the model before training",
        f"Before the first step the loss is {loss:.4f}{shown}; the rewards, which must be 0, are "
        f"{' and '.join(f'{reward:.4g}' for reward in rewards)}.",
        "Use a method without a reference, or start without model.adapter.",
    )


def _first_loss(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """(the loss of a batch, the last value of each metric), in training mode without gradients."""
    model, metrics, tokens = trainer.model, trainer._metrics, trainer._total_train_tokens
    was_training = model.training
    trainer._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    trainer._whole = (trainer.size_of(batch),)
    model.train()
    try:
        devices = range(torch.cuda.device_count())
        with torch.no_grad(), torch.random.fork_rng(devices=devices), trainer.compute_loss_context_manager():
            loss = float(trainer._compute_loss(model, batch, False))
        return loss, {name: values[-1] for name, values in trainer._metrics["train"].items() if values}
    finally:
        model.train(was_training)
        trainer._metrics, trainer._total_train_tokens = metrics, tokens
        trainer._whole = ()


def _loss_of_equals(trainer: Any, batch: dict[str, Any]) -> float | None:
    """The loss while policy and reference are the same model; None where it depends on more than these."""
    if getattr(trainer, "aux_loss_enabled", False):
        return None
    if "label" in batch:  # KTO
        good = torch.as_tensor(batch["label"], dtype=torch.float).mean().item()
        return float(good * trainer.desirable_weight + (1 - good) * trainer.undesirable_weight) / 2
    return PLAIN_DPO_LOSSES.get(trainer.loss_types[0]) if len(trainer.loss_types) == 1 else None

"""The logits of one row before a trainer is built, and whether base, policy and reference give them afterwards."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trl.trainer.utils import use_adapter

from tuner_tui.errors import InputError, TunerError
from tuner_tui.worker.model.loading import is_out_of_memory
from tuner_tui.worker.model.same_logits import difference, is_same, logits_of, row_of
from tuner_tui.worker.training.checkpoints import REFERENCE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartLogits:
    """The logits of one row before the trainer is built; None where there is nothing to compare with."""

    row: torch.Tensor
    base: torch.Tensor | None = None
    """Of the base, without any adapter."""
    policy: torch.Tensor | None = None
    """Of the base with the adapter that the run starts from."""


def look_at_base(model: Any, tokenizer: PreTrainedTokenizerBase) -> StartLogits:
    """The logits of a base that has just been loaded."""
    row = row_of(tokenizer, model)
    return StartLogits(row, base=_look(model, row))


def look_at_start(before: StartLogits, model: Any) -> StartLogits:
    """With the logits of the start adapter. Raises InputError if loading it has changed the base."""
    if before.base is None:
        return before
    if getattr(model.peft_config["default"], "bias", None) not in (None, "none"):
        before = replace(
            before, base=None
        )  # the base's own biases are trained, and stay when the adapter is off
    with model.disable_adapter():
        now = _look(model, before.row)
    if before.base is not None and now is not None and not is_same(now, before.base, model):
        raise InputError(
            "The adapter changes its base",
            f"With the adapter off, the base's logits differ by {difference(now, before.base):.1%} from those before "
            "it was loaded.",
            "Use plain LoRA of the unchanged base, without weights of the base in its file.",
        )
    return replace(before, policy=_look(model, before.row))


def require_same(before: StartLogits, model: Any) -> None:
    """Raise TunerError when building the trainer has changed the base, the start adapter or its frozen copy."""
    adapters = getattr(model, "peft_config", None)
    if adapters is None:
        _require(before.base, before, model, "model")
        return
    with model.disable_adapter():
        _require(before.base, before, model, "base")
    _require(before.policy, before, model, "adapter that the run starts from")
    if REFERENCE in adapters:
        with use_adapter(model, REFERENCE):
            _require(before.policy, before, model, "frozen reference")


def _require(expected: torch.Tensor | None, before: StartLogits, model: Any, what: str) -> None:
    now = None if expected is None else _look(model, before.row)
    if expected is None or now is None or is_same(now, expected, model):
        return
    raise TunerError(
        "The model has changed",
        f"Building the trainer has changed the {what}: a row's logits differ by {difference(now, expected):.1%}.",
        "Use another adapter or tuning; the run would train something other than what it was given.",
    )


def _look(model: Any, row: torch.Tensor) -> torch.Tensor | None:
    """A row's logits; None where the model needs more than tokens."""
    try:
        return logits_of(model, {"input_ids": row})
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        _log.warning("the model's logits cannot be looked at: %s", error)
        return None

"""Whether a model still gives the logits that it gave before, up to rounding."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedTokenizerBase

SENTENCE = "The cat sat on the mat, and 7 dogs looked on."
LONGEST_ROW = 24
ROUNDING = {"exact": 1e-3, "16 bit": 0.03, "int8": 0.1}
"""Largest difference that rounding explains when the same row is computed twice with the same shapes."""


def row_of(tokenizer: PreTrainedTokenizerBase, model: Any) -> torch.Tensor:
    """A short row of token IDs, (1, tokens), that the model has an embedding of."""
    size = model.get_input_embeddings().weight.shape[0]
    ids = list(tokenizer(SENTENCE, add_special_tokens=False)["input_ids"])[:LONGEST_ROW]
    return torch.tensor([[token for token in ids if token < size] or [0]])


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within the block the model is in evaluation mode and makes no gradients; its mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def logits_of(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The logits of a batch in fp32 on the CPU, without a cache: (rows, tokens, vocabulary), or (rows, scores)."""
    placed = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in inputs.items()
    }
    with evaluating(model):
        logits: torch.Tensor = model(**placed, use_cache=False).logits
    return logits.float().cpu()


def difference(now: torch.Tensor, before: torch.Tensor) -> float:
    """How far logits have moved: over all tokens, the mean of the root mean square of the difference of a token's
    logits, relative to their standard deviation. Infinite where only one is not finite; zero where neither is, as of
    a model whose weights hold NaN, which the first loss tells.
    """
    if now.shape == before.shape and not (torch.isfinite(now).all() or torch.isfinite(before).all()):
        return 0.0
    if not (torch.isfinite(now).all() and torch.isfinite(before).all()) or now.shape != before.shape:
        return float("inf")
    moved = (now - before).square().mean(-1).sqrt()
    spread = before.std(-1, correction=0) if before.shape[-1] > 1 else before.abs().squeeze(-1)
    return float((moved / spread.clamp_min(1e-6)).mean())


def rounding(model: Any) -> str:
    """How a model's logits are rounded, a key of ROUNDING."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(base, "is_loaded_in_8bit", False):
        return "int8"
    is_packed = getattr(base, "is_quantized", False)
    return "16 bit" if is_packed or base.dtype in (torch.bfloat16, torch.float16) else "exact"


def rounding_in(trainer: Any) -> str:
    """How the logits are rounded that a trainer computes, a key of ROUNDING: mixed precision rounds them, too."""
    is_mixed = trainer.args.bf16 or trainer.args.fp16
    kind = rounding(trainer.model)
    return "16 bit" if is_mixed and kind == "exact" else kind


def is_same(now: torch.Tensor, before: torch.Tensor, model: Any) -> bool:
    """Whether two looks at the same row differ by no more than rounding."""
    return difference(now, before) <= ROUNDING[rounding(model)]

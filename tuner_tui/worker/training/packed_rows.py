"""A look before the first step: packed rows get the logits that they get alone, on the model that is trained.

Transformers keeps packed rows apart where position IDs begin anew (masking_utils.find_packed_sequence_indices), in
models whose attention asks it for a mask. Others attend to the rows before, or carry a state over: models with their
own attention, and convolutions or recurrent layers without the kernels that know where rows begin.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.errors import InputError
from tuner_tui.worker.model.same_logits import difference, logits_of, rounding_in

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, FEWEST_TOKENS, MOST_TOKENS = 3, 4, 16
"""Rows that are packed for the look, and how many tokens of each."""
LEAK = {"exact": 1e-4, "16 bit": 1e-3, "int8": 0.05}
"""By how a model rounds, the largest difference that other tokens in the first row may make to later rows. The shapes
are equal, so a difference is a leak; but int8 rounds by the largest values of the batch."""
SHARED_LEAK = 0.05
"""The same for a mixture of experts, which multiplies the tokens of all rows for an expert at once."""
SHIFT = {"exact": 1e-2, "16 bit": 0.15, "int8": 0.3}
"""The largest difference to a row alone, which other kernels compute."""


def require_rows_apart(trainer: Any) -> None:
    """Raise InputError where rows that are packed together get other logits than alone. Changes nothing.

    `trainer` is TRL's; its packed rows have `seq_lengths`.
    """
    if "seq_lengths" not in trainer.train_dataset.column_names:
        return
    rows = list(islice(_documents(trainer.train_dataset), ROWS))
    if len(rows) < 2:
        return
    problem = _problem(trainer, rows)
    if problem is None:
        return
    attention = str(getattr(trainer.model.config, "_attn_implementation", None) or "eager")
    may_help = attention not in ("flash_attention_2", "flash_attention_3")
    raise InputError(
        "Packed rows are not kept apart",
        f'{trainer.model.config.model_type} with attention "{attention}": {problem}',
        "Set method.packing = false"
        + (
            ', or try model.attention = "flash_attention_2" on a GPU if the model has no other kind of layer.'
            if may_help
            else "."
        ),
    )


def _documents(dataset: Any) -> Iterator[list[int]]:
    """The beginnings of the rows that were packed, in the order of the packed sequences."""
    for packed in dataset:
        start = 0
        for length in packed["seq_lengths"]:
            if length >= FEWEST_TOKENS:
                yield list(packed["input_ids"][start : start + min(length, MOST_TOKENS)])
            start += length


def _problem(trainer: Any, rows: list[list[int]]) -> str | None:
    """What is wrong when rows are packed, or None."""
    from tuner_tui.worker.model.loading import is_out_of_memory

    model = trainer.model
    with trainer.compute_loss_context_manager():
        alone = [logits_of(model, {"input_ids": torch.tensor([row])})[0] for row in rows]
    try:
        together = _packed_logits(trainer, rows)
        changed = _packed_logits(trainer, [_other(rows), *rows[1:]])
    except (ValueError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return f"it cannot compute packed rows ({first})."
    kind = rounding_in(trainer)
    leak = max(difference(now, before) for now, before in zip(changed[1:], together[1:], strict=True))
    if leak > (max(LEAK[kind], SHARED_LEAK) if _has_experts(model) else LEAK[kind]):
        return f"a row's logits change by {leak:.1%} with the tokens of the row before it, so rows see each other."
    shift = max(difference(now, before) for now, before in zip(together, alone, strict=True))
    if shift > SHIFT[kind]:
        return f"a packed row's logits differ from the same row alone by {shift:.1%}."
    return None


def _packed_logits(trainer: Any, rows: list[list[int]]) -> list[torch.Tensor]:
    """The logits of rows packed into one sequence, each (tokens, vocabulary)."""
    tokens = [token for row in rows for token in row]
    lengths = [len(row) for row in rows]
    batch = trainer.data_collator([{"input_ids": tokens, "labels": tokens, "seq_lengths": lengths}])
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with trainer.compute_loss_context_manager():
        return list(torch.split(logits_of(trainer.model, inputs)[0], lengths))


def _other(rows: list[list[int]]) -> list[int]:
    """As many tokens as the first row has, and not the same."""
    first, second = rows[:2]
    turned = first[::-1]
    if turned != first:
        return turned
    return [second[place % len(second)] for place in range(len(first))]


def _has_experts(model: Any) -> bool:
    config = model.config.get_text_config()
    return any(
        getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")
    )

"""Marks that say whether a turn, or a part of one, is trained."""

from __future__ import annotations

from typing import Any

TRAIN_FLAGS = ("weight", "train", "training", "trainable", "loss", "loss_mask", "loss_weight", "supervise")
"""Names under which data sets say whether a turn is trained."""
MASK_FLAGS = ("masked", "is_masked", "ignore_loss")
"""The same, the other way round."""
OF_PROMPT = "of_prompt"
"""Names an answer of a row's prompt: not trained where only answers are, and no mark of the row."""
NOT_RENDERED = ("weight", OF_PROMPT)
"""Fields of a turn in plain form that say whether it is trained; no template sees them."""


def marked(value: dict[str, Any]) -> tuple[bool | None, list[str]]:
    """Whether an object is marked as trained (None for no mark), and the names of marks that cannot be read."""
    is_trained: bool | None = None
    unread = []
    for key in (*TRAIN_FLAGS, *MASK_FLAGS):
        if (given := value.get(key)) is None:
            continue
        flag = _as_flag(given)
        if flag is None:
            unread.append(key)
        else:
            is_trained = (flag != (key in MASK_FLAGS)) and is_trained is not False
    return is_trained, unread


def _as_flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            value.strip().lower()
        )
    return bool(value) if value in (0, 1) else None

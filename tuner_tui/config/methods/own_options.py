"""Options that some methods alone have, as all other code reads them: with what holds for a method without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tuner_tui.config.methods.options import Method


def loss_on(method: Method) -> Literal["answers", "all"]:
    """Which tokens have loss."""
    choice: Literal["answers", "all"] = getattr(method, "loss_on", "answers")
    return choice


def is_packed(method: Method) -> bool:
    """Whether short rows are joined into full sequences."""
    return bool(getattr(method, "packing", False))


def can_pack(method: Method) -> bool:
    """Whether the method can join short rows."""
    return hasattr(method, "packing")


def precomputes_reference(method: Method) -> bool:
    """Whether the reference's log-probabilities are computed once, before the first step."""
    return bool(getattr(method, "precompute_reference", False))

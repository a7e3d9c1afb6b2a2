"""Resolves training.checkpointing = "auto" where no estimate decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.config.spec import Switch


def checkpoints_activations(setting: Switch, *, is_gpu: bool) -> bool:
    """Whether activations are recomputed in the backward pass instead of kept."""
    return is_gpu if setting == "auto" else setting == "on"

"""How a LoRA adapter was initialised: PEFT's `init_lora_weights`, and which of them change the base's own weights.

PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ take a part out of the base's weights and put it into the adapter (PEFT 0.21.2,
peft/tuners/lora/layer.py), so that such an adapter belongs to a base that no file has. Plain numbers, without pydantic.
"""

from __future__ import annotations

CHANGE_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""What the values begin with: PiSSA's may be `pissa_niter_4`."""
RECOMPUTED = ("pissa", "olora")
"""What the base alone determines, so that the part can be computed again."""
QUANTISES = "loftq"
"""Rounds the base to few bits besides, which no adapter of low rank can undo."""


def changes_base(init: object) -> bool:
    """Whether an `init_lora_weights` changes the base's own weights."""
    return isinstance(init, str) and init.lower().startswith(CHANGE_BASE)


def converted_rank(rank: int, init: object) -> int:
    """The rank here of an adapter of this rank: twice that, where it is made plain for the unchanged base."""
    return 2 * rank if changes_base(init) else rank


def converted_alpha(alpha: float, init: object, *, is_rslora: bool) -> float:
    """Its alpha, which keeps the scale: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
    if not changes_base(init):
        return alpha
    return alpha * (2**0.5 if is_rslora else 2)

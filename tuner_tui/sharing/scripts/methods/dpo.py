"""Direct preference optimisation in a train.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner_tui.config.methods.dpo import DpoMethod
    from tuner_tui.sharing.run_facts import RunFacts


def arguments(method: DpoMethod, facts: RunFacts) -> dict[str, Any]:
    """What DPOConfig is given besides the common arguments."""
    losses = [method.loss, *(["sft"] if method.sft_weight > 0 else [])]
    return {
        "max_length": None,
        "beta": method.beta,
        "loss_type": losses,
        "loss_weights": [1.0, method.sft_weight] if len(losses) > 1 else None,
        "label_smoothing": method.label_smoothing,
        "precompute_ref_log_probs": method.precompute_reference,
    }


def dataset(method: DpoMethod, facts: RunFacts) -> str:
    """The code that creates `dataset` from `lines`."""
    return _DATASET


_DATASET = """pairs = [encode_pair(line, tokenizer) for line in lines]
pairs = [pair for pair in pairs if pair[1] and pair[2] and pair[1] != pair[2]]
dataset = Dataset.from_dict(
    {"prompt_ids": [p for p, _, _, _ in pairs], "chosen_ids": [c for _, c, _, _ in pairs],
     "rejected_ids": [r for _, _, r, _ in pairs]}
)
"""

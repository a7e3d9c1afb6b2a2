"""Reward models in a train.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner_tui.config.methods.reward import RewardMethod
    from tuner_tui.sharing.run_facts import RunFacts


def arguments(method: RewardMethod, facts: RunFacts) -> dict[str, Any]:
    """What RewardConfig is given besides the common arguments."""
    return {"max_length": None, "center_rewards_coefficient": method.center_rewards or None}


def dataset(method: RewardMethod, facts: RunFacts) -> str:
    """The code that creates `dataset` from `lines`."""
    return _DATASET


_DATASET = """pairs = [encode_pair(line, tokenizer) for line in lines]
pairs = [pair for pair in pairs if pair[1] and pair[2] and pair[1] != pair[2] and not pair[3]]
dataset = Dataset.from_dict(
    {"chosen_ids": [p + c for p, c, _, _ in pairs], "rejected_ids": [p + r for p, _, r, _ in pairs]}
)
"""

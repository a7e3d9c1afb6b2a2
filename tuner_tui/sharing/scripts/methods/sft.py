"""Supervised fine-tuning in a train.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner_tui.config.methods.sft import SftMethod
    from tuner_tui.sharing.run_facts import RunFacts


def arguments(method: SftMethod, facts: RunFacts) -> dict[str, Any]:
    """What SFTConfig is given besides the common arguments."""
    return {
        "max_length": facts.spec.training.max_length,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }


def dataset(method: SftMethod, facts: RunFacts) -> str:
    """The code that creates `dataset` from `lines`."""
    return _DATASET


_DATASET = """rows = [encode(line, tokenizer) for line in lines]
dataset = Dataset.from_list([row for row in rows if any(label != -100 for label in row["labels"][1:])])
"""

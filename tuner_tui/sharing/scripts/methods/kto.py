"""Kahneman-Tversky optimisation in a train.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner_tui.config.methods.kto import KtoMethod
    from tuner_tui.sharing.run_facts import RunFacts


def arguments(method: KtoMethod, facts: RunFacts) -> dict[str, Any]:
    """What KTOConfig is given besides the common arguments."""
    return {
        "max_length": None,
        "beta": method.beta,
        "loss_type": method.loss,
        "desirable_weight": method.desirable_weight,
        "undesirable_weight": method.undesirable_weight,
        "precompute_ref_log_probs": method.precompute_reference,
    }


def dataset(method: KtoMethod, facts: RunFacts) -> str:
    """The lines that make `dataset` of `lines`, with the mismatched answers that the KL estimate takes."""
    group = facts.story.training.micro_batch if facts.story.training else facts.spec.training.batch_size
    estimate = _KL.format(group=group) if method.loss == "kto" else ""
    return _DATASET.format(seed=facts.spec.training.seed) + estimate


_DATASET = """random.Random({seed}).shuffle(lines)
found = [(encode(row["text"], row["from"], row["finished"], row["rendered"], tokenizer), row["label"]) for row in lines]
answers = [(ids[:begin], ids[begin:MAX_LENGTH], label) for (ids, begin), label in found]
answers = [answer for answer in answers if answer[1]]
columns = {{
    "prompt_ids": [prompt for prompt, _, _ in answers],
    "completion_ids": [completion for _, completion, _ in answers],
    "label": [label for _, _, label in answers],
}}
dataset = Dataset.from_dict(columns)
"""
_KL = """
GROUP = {group}  # rows of a micro-batch, within which the KL estimate takes each prompt with another row's answer
completions, others = columns["completion_ids"], []
for index in range(len(completions)):
    start = index - index % GROUP
    last = min(start + GROUP, len(completions)) - 1
    others.append(completions[index - 1 if index > start or last == start else last])
dataset = Dataset.from_dict(columns | {{"KL_completion_ids": others}})
"""

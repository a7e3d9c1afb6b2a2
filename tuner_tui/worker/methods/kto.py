"""Kahneman-Tversky optimisation: unpaired preferences, base, TRL's KTOTrainer. The reference is that of dpo.

The KL estimate is computed on prompts with the answer of the previous row, within each micro-batch. So the rows have
the same order, drawn by seed, in every epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from tuner_tui.worker.text.preference_tokens import TokenisedAnswer, tokenise_answers
from tuner_tui.worker.text.training_rows import prepare
from tuner_tui.worker.training import common
from tuner_tui.worker.training.row_order import EvenRows
from tuner_tui.worker.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from tuner_tui.config.methods.kto import KtoMethod
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokens import TokenisedData
    from tuner_tui.worker.training.result import Ending


class Trainer(RunTrainer, EvenRows, KTOTrainer):  # type: ignore[misc]
    """TRL's trainer on tokenised rows."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # already tokenised


def run(job: Job, method: KtoMethod) -> Ending:
    """Train as the spec says, from rows to adapter; returns how it ended."""
    resolved = common.find_base(job)
    training = job.spec.training

    def tokenise(reading: Reading) -> TokenisedData[TokenisedAnswer]:
        return tokenise_answers(reading, resolved.tokenizer, training.max_length, "kto", training.seed)

    train, evaluation = prepare(job, resolved, tokenise)
    policy = common.load_policy(job, resolved)
    arguments = KTOConfig(
        **common.arguments(job, resolved, has_evaluation=evaluation is not None),
        max_length=None,  # the rows are already truncated
        beta=method.beta,
        loss_type=method.loss,
        desirable_weight=method.desirable_weight,
        undesirable_weight=method.undesirable_weight,
        precompute_ref_log_probs=method.precompute_reference,
    )
    group = arguments.per_device_train_batch_size if method.loss == "kto" else None
    trainer = Trainer(
        model=policy.model,
        ref_model=common.load_reference(job, resolved, is_precomputed=method.precompute_reference),
        args=arguments,
        train_dataset=as_dataset(train, group),
        eval_dataset=as_dataset(evaluation, group) if evaluation else None,
        processing_class=resolved.tokenizer,
        peft_config=policy.peft_config,
    )
    return common.fit(job, trainer, resolved, policy)


def as_dataset(data: TokenisedData[TokenisedAnswer], group: int | None) -> Dataset:
    """The answers in the columns of TRL's collator; with a group size also the mismatched ones for the KL estimate."""
    columns: dict[str, Any] = {
        "prompt_ids": [row.prompt for row in data.rows],
        "completion_ids": [row.completion for row in data.rows],
        "label": [row.label for row in data.rows],
    }
    if group is not None:
        columns["KL_completion_ids"] = mismatched(columns["completion_ids"], group)
    return Dataset.from_dict(columns)


def mismatched(completions: list[list[int]], group: int) -> list[list[int]]:
    """For each row, the completion of the previous row in its group; for the first row, that of the last.

    A last group of a single row takes the completion from the group before.
    """
    shifted = []
    for index in range(len(completions)):
        start = index - index % group
        last = min(start + group, len(completions)) - 1
        shifted.append(completions[index - 1 if index > start or last == start else last])
    return shifted

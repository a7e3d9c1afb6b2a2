"""A reward model from pairs: the base with a scalar head, TRL's RewardTrainer; adapter and head are saved together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from tuner_tui.worker.text.preference_tokens import TokenisedPair, tokenise_pairs
from tuner_tui.worker.text.training_rows import prepare
from tuner_tui.worker.training import common
from tuner_tui.worker.training.even_loss import EvenRows
from tuner_tui.worker.training.row_order import OrderedRows
from tuner_tui.worker.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from tuner_tui.config.methods.reward import RewardMethod
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokens import TokenisedData
    from tuner_tui.worker.training.result import Ending


class Trainer(RunTrainer, OrderedRows, EvenRows, RewardTrainer):  # type: ignore[misc]
    """TRL's trainer on tokenised rows."""

    length_columns = ("chosen_ids", "rejected_ids")

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # already tokenised


def run(job: Job, method: RewardMethod) -> Ending:
    """Train as the spec says, from rows to adapter and head; returns how it ended."""
    resolved = common.find_base(job)

    def tokenise(reading: Reading) -> TokenisedData[TokenisedPair]:
        return tokenise_pairs(reading, resolved.tokenizer, job.spec.training.max_length, "reward")

    train, evaluation = prepare(job, resolved, tokenise)
    policy = common.load_policy(job, resolved)
    arguments = RewardConfig(
        **common.arguments(job, resolved, has_evaluation=evaluation is not None),
        max_length=None,  # overlong pairs are already left out
        center_rewards_coefficient=method.center_rewards or None,
    )
    trainer = Trainer(
        model=policy.model,
        args=arguments,
        train_dataset=as_dataset(train),
        eval_dataset=as_dataset(evaluation) if evaluation else None,
        processing_class=resolved.tokenizer,
        peft_config=policy.peft_config,
    )
    return common.fit(job, trainer, resolved, policy)


def as_dataset(data: TokenisedData[TokenisedPair]) -> Dataset:
    """The pairs in the columns of TRL's collator, as full conversations."""
    return Dataset.from_dict(
        {
            "chosen_ids": [row.prompt + row.chosen for row in data.rows],
            "rejected_ids": [row.prompt + row.rejected for row in data.rows],
        }
    )

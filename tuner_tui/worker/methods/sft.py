"""Supervised fine-tuning: rows, base, TRL's SFTTrainer, train, save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from tuner_tui.config.methods.sft import PACKING_STRATEGY
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokens import TokenisedData, TokenisedRow
from tuner_tui.worker.text.training_rows import prepare
from tuner_tui.worker.training import common
from tuner_tui.worker.training.answer_loss import AnswerLoss
from tuner_tui.worker.training.even_loss import EvenEvaluation
from tuner_tui.worker.training.row_order import OrderedRows
from tuner_tui.worker.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from tuner_tui.config.methods.sft import SftMethod
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.training.result import Ending


class Trainer(RunTrainer, OrderedRows, EvenEvaluation, AnswerLoss, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with checkpoints that are whole or absent, and an order of rows that can be resumed."""


def run(job: Job, method: SftMethod) -> Ending:
    """Train as the spec says, from rows to adapter; returns how it ended."""
    resolved = common.find_base(job)
    max_length = job.spec.training.max_length

    def tokenise(reading: Reading) -> TokenisedData[TokenisedRow]:
        return tokenise_file(reading, resolved.tokenizer, max_length, method.loss_on)

    train, evaluation = prepare(job, resolved, tokenise)
    policy = common.load_policy(job, resolved)
    arguments = SFTConfig(
        **common.arguments(job, resolved, has_evaluation=evaluation is not None),
        **common.router_arguments(job, policy),
        max_length=max_length,
        packing=method.packing,
        packing_strategy=PACKING_STRATEGY,
        dataset_kwargs=None if method.packing else {"skip_prepare_dataset": True},
    )
    trainer = Trainer(
        model=policy.model,
        args=arguments,
        train_dataset=_as_dataset(train),
        eval_dataset=_as_dataset(evaluation) if evaluation else None,
        processing_class=resolved.tokenizer,
        peft_config=policy.peft_config,
    )
    return common.fit(job, trainer, resolved, policy)


def _as_dataset(data: TokenisedData[TokenisedRow]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in data.rows], "labels": [row.labels for row in data.rows]}
    )

"""SimPO and CPO: pairs, base, TRL's CPOTrainer; no reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.worker.text.preference_tokens import TokenisedPair, tokenise_pairs
from tuner_tui.worker.text.training_rows import prepare
from tuner_tui.worker.training import common
from tuner_tui.worker.training.pair_trainers import CPOConfig, OurCPOTrainer, as_dataset

if TYPE_CHECKING:
    from tuner_tui.config.methods.cpo import CpoMethod
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokens import TokenisedData
    from tuner_tui.worker.training.result import Ending


def run(job: Job, method: CpoMethod) -> Ending:
    """Train as the spec says, from rows to adapter; returns how it ended."""
    resolved = common.find_base(job)
    max_length = job.spec.training.max_length

    def tokenise(reading: Reading) -> TokenisedData[TokenisedPair]:
        return tokenise_pairs(reading, resolved.tokenizer, max_length, "cpo")

    train, evaluation = prepare(job, resolved, tokenise)
    policy = common.load_policy(job, resolved, is_complete=True)
    shared = common.arguments(job, resolved, has_evaluation=evaluation is not None)
    arguments = CPOConfig(
        **{**shared, "remove_unused_columns": False},
        max_length=max_length,
        loss_type=method.loss,
        beta=method.beta,
        simpo_gamma=method.margin,
        cpo_alpha=method.sft_weight,
        label_smoothing=method.label_smoothing,
    )
    trainer = OurCPOTrainer(
        model=policy.model,
        args=arguments,
        train_dataset=as_dataset(train),
        eval_dataset=as_dataset(evaluation) if evaluation else None,
        processing_class=resolved.tokenizer,
    )
    return common.fit(job, trainer, resolved, policy)

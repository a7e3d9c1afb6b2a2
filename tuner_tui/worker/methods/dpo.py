"""Direct preference optimisation: pairs, base, TRL's DPOTrainer with the loss set in method.loss.

The reference is the base with the adapter disabled; for a run that starts from an adapter, a frozen copy of that one,
the adapter `ref`; for full tuning, a second model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from tuner_tui.worker.text.preference_tokens import TokenisedPair, tokenise_pairs
from tuner_tui.worker.text.training_rows import prepare
from tuner_tui.worker.training import common
from tuner_tui.worker.training.even_loss import EvenRows, Size
from tuner_tui.worker.training.reference import WholeReference
from tuner_tui.worker.training.row_order import OrderedRows
from tuner_tui.worker.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from tuner_tui.config.methods.dpo import DpoMethod
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokens import TokenisedData
    from tuner_tui.worker.training.result import Ending


class Trainer(RunTrainer, WholeReference, OrderedRows, EvenRows, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on tokenised rows."""

    length_columns = ("chosen_ids", "rejected_ids")
    reference_names = ("ref_chosen_logps", "ref_rejected_logps")
    sft_weight = 0.0

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # already tokenised

    def has_token_mean(self) -> bool:
        return bool(self.sft_weight)

    def size_of(self, batch: dict[str, Any]) -> Size:
        pairs = len(batch["completion_mask"]) // 2  # the chosen sides stand first
        return Size(pairs, int(batch["completion_mask"][:pairs, 1:].sum()))

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if self.sft_weight:
            self.loss_weights = [1.0, self.sft_weight * self.token_share(inputs)]
        return super()._compute_loss(model, inputs, return_outputs)


def run(job: Job, method: DpoMethod) -> Ending:
    """Train as the spec says, from rows to adapter; returns how it ended."""
    resolved = common.find_base(job)

    def tokenise(reading: Reading) -> TokenisedData[TokenisedPair]:
        return tokenise_pairs(reading, resolved.tokenizer, job.spec.training.max_length, "dpo")

    train, evaluation = prepare(job, resolved, tokenise)
    policy = common.load_policy(job, resolved)
    has_sft = method.sft_weight > 0
    arguments = DPOConfig(
        **common.arguments(job, resolved, has_evaluation=evaluation is not None),
        **common.router_arguments(job, policy),
        max_length=None,  # the rows are already truncated
        beta=method.beta,
        loss_type=[method.loss, "sft"] if has_sft else [method.loss],
        loss_weights=[1.0, method.sft_weight] if has_sft else None,
        label_smoothing=method.label_smoothing,
        precompute_ref_log_probs=method.precompute_reference,
    )
    trainer = Trainer(
        model=policy.model,
        ref_model=common.load_reference(job, resolved, is_precomputed=method.precompute_reference),
        args=arguments,
        train_dataset=as_dataset(train),
        eval_dataset=as_dataset(evaluation) if evaluation else None,
        processing_class=resolved.tokenizer,
        peft_config=policy.peft_config,
        start_adapter=policy.start_adapter,
    )
    trainer.sft_weight = method.sft_weight
    return common.fit(job, trainer, resolved, policy)


def as_dataset(data: TokenisedData[TokenisedPair]) -> Dataset:
    """The pairs in the columns of TRL's collator."""
    return Dataset.from_dict(
        {
            "prompt_ids": [row.prompt for row in data.rows],
            "chosen_ids": [row.chosen for row in data.rows],
            "rejected_ids": [row.rejected for row in data.rows],
        }
    )

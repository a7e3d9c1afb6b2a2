"""Kahneman-Tversky optimisation: unpaired preferences, base, TRL's KTOTrainer. The reference is that of dpo.

How far the model has moved on the whole (the KL estimate) is measured on prompts with the answer of the row before, so
rows stand in one order, drawn by seed, in every epoch, and the estimate is made within each micro-batch. On held-out
rows it is made over all of them, so that their loss does not depend on the micro-batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft import PeftModel
from trl import KTOConfig, KTOTrainer
from trl.trainer.utils import use_adapter

from tuner_tui.worker.text.preference_tokens import TokenisedAnswer, tokenise_answers
from tuner_tui.worker.text.training_rows import prepare
from tuner_tui.worker.training import common
from tuner_tui.worker.training.even_loss import EvenRows
from tuner_tui.worker.training.reference import WholeReference
from tuner_tui.worker.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from tuner_tui.config.methods.kto import KtoMethod
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokens import TokenisedData
    from tuner_tui.worker.training.result import Ending


class Trainer(RunTrainer, WholeReference, EvenRows, KTOTrainer):  # type: ignore[misc]
    """TRL's trainer on tokenised rows."""

    reference_names = ("ref_logps", "ref_KL_logps")
    _held_out_kl: torch.Tensor | None = None
    """The KL estimate over all held-out rows, while they are evaluated."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # already tokenised

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        if self.calculate_KL:
            self._held_out_kl = self._kl_on(dataloader)
        try:
            return super().evaluation_loop(dataloader, *args, **kwargs)
        finally:
            self._held_out_kl = None

    def _kl_on(self, dataloader: Any) -> torch.Tensor:
        """The KL estimate over all rows."""
        self.model.eval()
        estimates = []
        for each in dataloader:
            batch = self._prepare_inputs(each)
            with torch.no_grad(), self.compute_loss_context_manager():
                policy = super()._compute_kl_logps(self.model, batch)
                reference = batch.get("ref_KL_logps")
                estimates.append(policy - (self._reference_kl(batch) if reference is None else reference))
        return torch.cat(estimates).double().mean().float()

    def _reference_kl(self, batch: dict[str, Any]) -> Any:
        if self.ref_model is not None:
            return super()._compute_kl_logps(self.ref_model, batch)
        model: PeftModel = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return super()._compute_kl_logps(self.model, batch)

    def _compute_kl_logps(self, model: Any, batch: dict[str, Any]) -> Any:
        """TRL's; while evaluating, the estimate over all rows, of which the reference's part is nothing."""
        if self._held_out_kl is None:
            return super()._compute_kl_logps(model, batch)
        is_policy = self.precompute_ref_logps or "ref_KL_logps" not in batch
        batch["ref_KL_logps"] = torch.zeros_like(self._held_out_kl)
        return self._held_out_kl if is_policy else batch["ref_KL_logps"]


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
        **common.router_arguments(job, policy),
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
        eval_dataset=as_dataset(evaluation, group and len(evaluation.rows)) if evaluation else None,
        processing_class=resolved.tokenizer,
        peft_config=policy.peft_config,
        start_adapter=policy.start_adapter,
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

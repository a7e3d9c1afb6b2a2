"""Supervised fine-tuning: rows, base, TRL's SFTTrainer, train, save."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerState
from trl import SFTConfig, SFTTrainer

from tuner_tui.data.read import locate
from tuner_tui.errors import InputError
from tuner_tui.planning.plan import Choice, choose_micro_batch
from tuner_tui.runs.events import ChoicesMade, DataPrepared, ModelLoaded
from tuner_tui.worker import loading, result
from tuner_tui.worker.arguments import training_arguments
from tuner_tui.worker.checkpoints import WholeCheckpoints, is_at_end, read_manifest
from tuner_tui.worker.machine import choose_machine
from tuner_tui.worker.reporter import ReportingCallback
from tuner_tui.worker.row_order import GroupedByLength
from tuner_tui.worker.samples import Sampler
from tuner_tui.worker.tokens import TokenisedData, tokenise_file
from tuner_tui.worker.tuning import count_parameters, keep_adapter_in_fp32, peft_config

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.worker.job import Job


class Trainer(WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with checkpoints that are whole or absent, and an order of rows that can be resumed."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return GroupedByLength(batch, lengths, self.args.seed)


def run(job: Job) -> result.Ending:
    """Train as the spec says, from rows to adapter; gives how it ended."""
    spec = job.spec
    machine = choose_machine(spec)
    job.emit(ChoicesMade(choices=machine.choices))

    job.enter("loading", loading.what_finding_takes(job.plan))
    location, revision = loading.find_weights(job.plan)
    job.enter("preparing", "turning rows into tokens")
    tokenizer = loading.load_tokenizer(location, revision, spec.model)
    train, evaluation = _prepare(job, tokenizer)

    job.enter("loading", job.plan.model_name)
    started = time.perf_counter()
    model = loading.load_base(location, revision, spec.model, machine)

    micro_batch, reason = choose_micro_batch(
        spec.training.micro_batch, spec.training.batch_size, machine.is_gpu
    )
    job.emit(ChoicesMade(choices=(Choice(name="micro-batch", value=str(micro_batch), reason=reason),)))
    arguments = SFTConfig(
        **training_arguments(job, machine, micro_batch, has_evaluation=evaluation is not None),
        max_length=spec.training.max_length,
        packing=spec.method.packing,
        dataset_kwargs=None if spec.method.packing else {"skip_prepare_dataset": True},
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=_as_dataset(train),
        eval_dataset=_as_dataset(evaluation) if evaluation else None,
        processing_class=tokenizer,
        peft_config=peft_config(spec, model),
    )
    trainer.job = job
    trainer.remove_callback(PrinterCallback)  # the events tell more, and printing fails on a full disk
    keep_adapter_in_fp32(trainer.model)
    parameters, trained = count_parameters(trainer.model)
    job.emit(
        ModelLoaded(
            source=job.plan.model_name,
            precision=machine.precision,
            device=machine.device,
            parameters=parameters,
            trainable_parameters=trained,
            memory_bytes=trainer.model.get_memory_footprint(),
            seconds=time.perf_counter() - started,
        )
    )

    sampler = Sampler(job, trainer.model, tokenizer)
    reporting = ReportingCallback(job, sampler)
    trainer.add_callback(reporting)
    if spec.evaluation.early_stopping:
        trainer.add_callback(EarlyStoppingCallback(spec.evaluation.early_stopping))
    if sampler.needs_base_first():
        job.enter("sampling", "the base, before it changes")
        sampler.answer_as_base(allowed_seconds=None)
    job.enter("training")
    if job.resume_from and is_at_end(job.resume_from):  # only the result was missing
        trainer.state = TrainerState.load_from_json(str(job.resume_from / "trainer_state.json"))
        trainer._load_from_checkpoint(str(job.resume_from))
    else:
        trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    reporting.report_overhead()
    if job.stop.is_set() and trainer.state.global_step < trainer.state.max_steps:
        return result.stopped(job, trainer.state.global_step)

    job.enter("saving")
    result.restore_best(job, trainer)
    result.save(job, trainer.model, tokenizer)
    return result.finished(job, trainer)


def _prepare(job: Job, tokenizer: PreTrainedTokenizerBase) -> tuple[TokenisedData, TokenisedData | None]:
    spec = job.spec

    def tokenise(path: Path, limit: int | None) -> TokenisedData:
        return tokenise_file(
            path, tokenizer, spec.data.shape, limit, spec.training.max_length, spec.method.loss_on
        )

    train = tokenise(locate(spec.data.train), spec.data.limit)
    evaluation = tokenise(locate(spec.data.evaluation), None) if spec.data.evaluation else None
    if spec.data.evaluation_share:
        train, evaluation = _split(train, spec.data.evaluation_share, spec.training.seed)
    job.emit(
        DataPrepared(
            rows=len(train.rows),
            dropped_rows=len(train.dropped),
            cut_rows=sum(row.is_cut for row in train.rows),
            evaluation_rows=len(evaluation.rows) if evaluation else 0,
            tokens=sum(len(row.input_ids) for row in train.rows),
            trained_tokens=sum(row.trained_tokens for row in train.rows),
            longest_row=train.longest,
            shape=train.shape,
        )
    )
    for kind, dropped in (("", train.dropped), ("evaluation ", evaluation.dropped if evaluation else [])):
        if dropped:
            lines = ", ".join(str(row.line) for row in dropped[:5])
            job.warn(
                f"{len(dropped)} {kind}rows have no trained token within {spec.training.max_length} tokens "
                f"and are left out (lines {lines}{', ...' if len(dropped) > 5 else ''}).",
                "Raise training.max_length.",
            )
    job.data_fingerprint = train.fingerprint
    if job.resume_from and read_manifest(job.resume_from).data != train.fingerprint:
        job.warn(
            "The training rows have changed since the run began; it goes on with those of now.",
            "For the same result as without a stop, put the old rows back.",
        )
    return train, evaluation


def _split(data: TokenisedData, share: float, seed: int) -> tuple[TokenisedData, TokenisedData]:
    """Hold rows out by seed; at least one stays on each side. Raises InputError for a single row."""
    held = round(len(data.rows) * share)
    held = min(max(1, held), len(data.rows) - 1)
    if held < 1:
        raise InputError(
            "Too few rows to hold any out",
            "data.evaluation_share needs at least two rows that are trained.",
            "Give more rows, or leave data.evaluation_share out.",
        )
    order = torch.randperm(len(data.rows), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = set(order[:held])
    kept = [row for index, row in enumerate(data.rows) if index not in chosen]
    out = [row for index, row in enumerate(data.rows) if index in chosen]
    return TokenisedData(data.shape, kept, data.dropped), TokenisedData(data.shape, out, [])


def _as_dataset(data: TokenisedData) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in data.rows], "labels": [row.labels for row in data.rows]}
    )
